/** Brings the demo's decoder into a page, for tests to call. */
import { decodePicture } from "../../demo/pixels.ts";

Object.assign(globalThis, { decodePicture });
