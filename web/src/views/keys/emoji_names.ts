// The 64 pictures of a comparison by name (CS #sas-method-emoji), so that people can say them aloud.
import type { Locale } from "../../app/locale.svelte.ts";

const NAMES: Record<Exclude<Locale, "en">, string> = {
  tk: "It|Pişik|Şir|At|Birşah|Doňuz|Pil|Towşan|Panda|Horaz|Pingwin|Pyşbaga|Balyk|Sekizaýak|Kebelek|Gül|Agaç|Kaktus|Kömelek|Ýer şary|Aý|Bulut|Ot|Banan|Alma|Ýer tudanasy|Mekgejöwen|Pitsa|Tort|Ýürek|Ýylgyryş|Robot|Şlýapa|Äýnek|Açar|Aýaz baba|Başam barmak|Saýawan|Gum sagady|Sagat|Sowgat|Çyra|Kitap|Galam|Gysgyç|Gaýçy|Gulp|Açarlar|Çekiç|Telefon|Baýdak|Otly|Welosiped|Uçar|Raketa|Kubok|Top|Gitara|Surnaý|Jaň|Labyr|Nauşnik|Papka|Iňňebagjyk",
  ru: "Собака|Кошка|Лев|Лошадь|Единорог|Свинья|Слон|Кролик|Панда|Петух|Пингвин|Черепаха|Рыба|Осьминог|Бабочка|Цветок|Дерево|Кактус|Гриб|Глобус|Луна|Облако|Огонь|Банан|Яблоко|Клубника|Кукуруза|Пицца|Торт|Сердце|Улыбка|Робот|Шляпа|Очки|Гаечный ключ|Дед Мороз|Большой палец|Зонт|Песочные часы|Часы|Подарок|Лампочка|Книга|Карандаш|Скрепка|Ножницы|Замок|Ключ|Молоток|Телефон|Флаг|Поезд|Велосипед|Самолёт|Ракета|Кубок|Мяч|Гитара|Труба|Колокол|Якорь|Наушники|Папка|Булавка",
  fr: "Chien|Chat|Lion|Cheval|Licorne|Cochon|Éléphant|Lapin|Panda|Coq|Manchot|Tortue|Poisson|Poulpe|Papillon|Fleur|Arbre|Cactus|Champignon|Globe|Lune|Nuage|Feu|Banane|Pomme|Fraise|Maïs|Pizza|Gâteau|Cœur|Sourire|Robot|Chapeau|Lunettes|Clé plate|Père Noël|Pouce en l’air|Parapluie|Sablier|Réveil|Cadeau|Ampoule|Livre|Crayon|Trombone|Ciseaux|Cadenas|Clé|Marteau|Téléphone|Drapeau|Train|Vélo|Avion|Fusée|Trophée|Ballon|Guitare|Trompette|Cloche|Ancre|Casque audio|Dossier|Punaise",
};
const SYMBOLS =
  "🐶🐱🦁🐎🦄🐷🐘🐰🐼🐓🐧🐢🐟🐙🦋🌷🌳🌵🍄🌏🌙☁🔥🍌🍎🍓🌽🍕🎂❤😀🤖🎩👓🔧🎅👍☂⌛⏰🎁💡📕✏📎✂🔒🔑🔨☎🏁🚂🚲✈🚀🏆⚽🎸🎺🔔⚓🎧📁📌";
const places = new Map([...SYMBOLS].map((symbol, i) => [symbol, i]));

/** The name in the language of the app; the specification's English one where there is none. */
export function emojiName(symbol: string, english: string, locale: Locale): string {
  if (locale === "en") return english;
  const place = places.get([...symbol][0]!);
  return (place === undefined ? undefined : NAMES[locale].split("|")[place]) ?? english;
}
