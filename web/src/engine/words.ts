// Words for search: how text falls apart into them, in Turkmen, Russian, English and French. Pure.

const WORD_MIN = 2;
const WORD_MAX = 24;
const WORDS_MAX = 120;

/** Folded for comparing: lower case, marks away, so that `Ňazik` is found by `nazik`. */
export function folded(text: string): string {
    return text
        .normalize("NFKD")
        .replace(/\p{M}+/gu, "")
        .toLowerCase()
        .replace(/ё/g, "е")
        .replace(/ı/g, "i");
}

/** The words of a text, each once: folded, so that `Ş` is found by `s` and `Ё` by `е`. */
export function wordsOf(text: string): string[] {
    const found = new Set<string>();
    for (const word of folded(text).match(/[\p{L}\p{N}]+/gu) ?? []) {
        if (word.length < WORD_MIN) continue;
        found.add(word.slice(0, WORD_MAX));
        if (found.size >= WORDS_MAX) break;
    }
    return [...found];
}

/** The range of words that begin with a prefix. */
export function beginning(prefix: string): [string, string] {
    return [prefix, `${prefix}\uffff`];
}

/** Words of a text, as they stand in it, that begin with any of the folded prefixes. */
export function matching(text: string, prefixes: string[]): string[] {
    const shown = new Set<string>();
    for (const word of text.match(/[\p{L}\p{M}\p{N}]+/gu) ?? []) {
        const plain = folded(word);
        if (prefixes.some((prefix) => plain.startsWith(prefix))) shown.add(word);
    }
    return [...shown].slice(0, 20);
}
