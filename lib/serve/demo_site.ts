/**
 * What the demo's page is told of its site, and the policy that keeps pictures on the device.
 *
 * @module
 */

/** A captioner whose files lie beside the page. */
export interface SiteModel {
  /** For the list of models. */
  title: string;
  /** Folder, relative to the page, with a final slash. */
  path: string;
  /** Changes with the files. */
  version: string;
}

/** `site.json`. */
export interface Site {
  models: SiteModel[];
  /** Version of onnxruntime-web, whose WebAssembly lies in `onnxruntime/`. */
  onnxruntime: string;
  /** Other origins that models may be fetched from. */
  origins: string[];
  /** Files that the service worker keeps for a reload without network; neither models nor WebAssembly. */
  files: string[];
}

/** Drawings of the embedded captioner's kind that lie in `samples/`, from the embedded test pictures. */
export const SITE_SAMPLES: readonly string[] = ["0000.png", "0001.png", "0002.png", "0003.png"];

/** Origins of Hub files: its own, and those that it sends large files from. */
export const HUB_ORIGINS: readonly string[] = [
  "https://huggingface.co",
  "https://*.huggingface.co",
  "https://*.hf.co",
];

/**
 * What the page may do: run its own scripts and WebAssembly, show its own pictures, and fetch from its own site and `origins`. There is
 * nowhere else that anything could be sent to. Workers are started from a blob, as these alone inherit the policy.
 */
export function contentSecurityPolicy(origins: readonly string[]): string {
  return [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src 'self' blob:",
    `connect-src ${["'self'", ...origins].join(" ")}`,
    "worker-src 'self' blob:",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
}

/** Whether the policy lets a page fetch from a URL on another origin. */
export function isAllowedOrigin(url: URL, origins: readonly string[]): boolean {
  return origins.some((origin) => {
    const { protocol, host } = new URL(origin.replace("*.", ""));
    if (url.protocol !== protocol) return false;
    return origin.includes("*.") ? url.host.endsWith(`.${host}`) : url.host === host;
  });
}
