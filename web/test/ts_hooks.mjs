// Types are stripped by the compiler that checks them; no file is written.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const OPTIONS = {
  module: ts.ModuleKind.ESNext,
  target: ts.ScriptTarget.ES2022,
  verbatimModuleSyntax: true,
  inlineSourceMap: true,
};

export async function load(url, context, next) {
  if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
  const file = fileURLToPath(url);
  const text = await readFile(file, "utf8");
  const { outputText } = ts.transpileModule(text, { compilerOptions: OPTIONS, fileName: file });
  return { format: "module", source: outputText, shortCircuit: true };
}

/** Imports of TypeScript without an ending, as bundlers read them. */
export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (!specifier.startsWith(".") || /\.\w+$/.test(specifier)) throw error;
    return next(`${specifier}.ts`, context);
  }
}
