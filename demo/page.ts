/**
 * The page: pictures come in, a worker captions them, and a service worker keeps the page for when there is no network.
 *
 * @module
 */

import { describeError } from "../lib/base/errors.ts";
import type { Site } from "../lib/serve/demo_site.ts";
import { element } from "./dom.ts";
import { Gallery } from "./gallery.ts";
import { takePictures } from "./intake.ts";
import { ModelPanel } from "./model_panel.ts";

const gallery = new Gallery(() => Number(element("beams", HTMLSelectElement).value));
takePictures((files) => gallery.add(files));

// Before anything is read, so that the page is kept even if its visitor leaves early.
await navigator.serviceWorker?.register("service_worker.js").catch((error: unknown) => {
  console.warn(`The page will not open without network: ${describeError(error)}`);
});

const site = await (await fetch("site.json")).json() as Site;
await new ModelPanel(site, (engine) => gallery.use(engine)).start();
