import { svelte } from "@sveltejs/vite-plugin-svelte";
import { svelteTesting } from "@testing-library/svelte/vite";
import { defineConfig } from "vitest/config";

// `npm run dev` shows the pages of this folder over the API of a control plane that runs beside it.
const CONTROL_PLANE = process.env["LPMOS_CONTROL_PLANE"] ?? "http://127.0.0.1:8080";
const passedOn = { target: CONTROL_PLANE, changeOrigin: false };

export default defineConfig({
  plugins: [svelte(), svelteTesting()],
  build: {
    outDir: "../src/lpmos/control/dashboard",
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content security policy allows no data: addresses
    modulePreload: { polyfill: false },
    target: "es2022",
  },
  server: {
    proxy: {
      "/api": passedOn,
      "/login": passedOn,
      "/schema": passedOn,
      "/static": passedOn,
      "/ws": { ...passedOn, ws: true },
    },
  },
  test: { environment: "jsdom", include: ["src/**/*.test.ts"] },
});
