// What `tsx` does for the documents, with the compiler that the console has: take the types away, and run the rest.
import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import ts from "../../console/node_modules/typescript/lib/typescript.js";

const file = resolve(process.argv[2]);
const made = ts.transpileModule(readFileSync(file, "utf8"), {
  reportDiagnostics: true,
  compilerOptions: { module: "esnext", target: "es2022" },
});
for (const { messageText } of made.diagnostics) throw new Error(`${file}: ${messageText}`);
const plain = file.replace(/ts$/, "js");
writeFileSync(plain, made.outputText);
await import(pathToFileURL(plain).href);
