import { defineConfig } from "vite";

// The page is served at /ui/console/ of a host, behind the name of a stage or not: its links are relative. What is
// built becomes part of the package, beside the functions' code.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../chalicelib/ui",
    emptyOutDir: true,
    assetsDir: "",
    // No file inlined: the page's policy allows what comes from its own origin.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    license: false,
  },
});
