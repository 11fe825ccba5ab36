/**
 * The one place where sharp (libvips) is loaded and set up.
 *
 * @module
 */

import sharp from "sharp";

// Several images are decoded at once, each by one worker: threads inside libvips would only compete.
sharp.concurrency(1);
sharp.cache(false);

export { sharp };
export type { Metadata } from "sharp";
