/**
 * The part of the page that picks a model, says where it runs, and what it keeps on the device.
 *
 * @module
 */

import { describeError } from "../lib/base/errors.ts";
import { JsonConfig } from "../lib/format/json_config.ts";
import type { OnnxProvider } from "../lib/generate/onnxruntime.ts";
import { onnxFolderFiles } from "../lib/models/onnx_files.ts";
import type { Site } from "../lib/serve/demo_site.ts";
import { button, create, element, megabytes } from "./dom.ts";
import { Engine } from "./engine.ts";
import type { Download } from "./messages.ts";
import { locateModel } from "./model_reference.ts";
import { chooseProvider, PROVIDER_NAMES, type ProviderChoice } from "./provider.ts";
import { deleteStoredFolder, type FolderLocation, listStoredFolders, storeFiles } from "./stored_folder.ts";

/** Titles of stored folders that are no models. */
const RUNTIME_TITLE = "onnxruntime";

/** Opens what is picked, and gives it to `use`. */
export class ModelPanel {
  readonly #site: Site;
  readonly #use: (engine: Engine | undefined) => void;
  readonly #models = element("models", HTMLSelectElement);
  readonly #provider = element("provider", HTMLSelectElement);
  #locations: FolderLocation[] = [];
  #engine: Engine | undefined;
  /** Counts openings: what a later one has replaced shows nothing any more. */
  #turn = 0;

  constructor(site: Site, use: (engine: Engine | undefined) => void) {
    this.#site = site;
    this.#use = use;
    this.#models.onchange = this.#provider.onchange = () => void this.open();
    element("other", HTMLFormElement).onsubmit = (event) => {
      event.preventDefault();
      void this.#openOther();
    };
    const folder = element("folder", HTMLInputElement);
    folder.onchange = () => void this.#openFolder([...folder.files ?? []]);
    const hosts = site.origins.map((origin) => origin.replace("https://", "")).join(", ");
    element("origins", HTMLSpanElement).textContent = hosts === "" ? "" : ` and from ${hosts}`;
  }

  /** Lists the site's models and those on this device, and opens the first. */
  async start(): Promise<void> {
    this.#locations = this.#site.models.map(({ title, path, version }) => ({
      title,
      base: new URL(path, document.baseURI).href,
      version,
    }));
    for (const { location } of await listStoredFolders()) {
      const isKnown = this.#locations.some(({ base }) => base === location.base);
      if (!isKnown && location.title !== RUNTIME_TITLE) this.#locations.push(location);
    }
    this.#listModels();
    await this.open();
  }

  /** Opens the picked model where it shall run. */
  async open(): Promise<void> {
    const turn = ++this.#turn;
    this.#engine?.close();
    this.#engine = undefined;
    this.#use(undefined);
    const choice = this.#provider.value as ProviderChoice;
    const model = this.#locations[this.#models.selectedIndex]!;
    this.#say(`Opening ${model.title}…`);
    const { provider, reason } = await chooseProvider(choice);
    if (turn !== this.#turn) return;
    const error = await this.#openOn(provider, { model, reason, turn });
    if (error === undefined || turn !== this.#turn) return;
    if (choice === "auto" && provider === "webgpu") {
      const second = await this.#openOn("wasm", { model, reason: `WebGPU did not run it: ${error}.`, turn });
      if (second === undefined) return;
    }
    if (turn === this.#turn) this.#say(error, "failed");
  }

  /** Opens on a provider; gives what went wrong. */
  async #openOn(
    provider: OnnxProvider,
    { model, reason, turn }: { model: FolderLocation; reason: string; turn: number },
  ): Promise<string | undefined> {
    const base = new URL("onnxruntime/", document.baseURI).href;
    const runtime = { title: RUNTIME_TITLE, base, version: this.#site.onnxruntime };
    const isCurrent = () => turn === this.#turn;
    const onDownload = (download: Download) => isCurrent() && this.#showDownload(download);
    const { engine, opened } = Engine.open({ model, runtime, provider, onDownload });
    this.#engine = engine;
    try {
      const { dtype, isStored, seconds } = await opened;
      if (!isCurrent()) return undefined;
      this.#use(engine);
      this.#say(
        `Ready: ${model.title} in ${dtype} on ${PROVIDER_NAMES[provider]}, opened in ${
          seconds.toFixed(1)
        } s. ${reason}` +
          (isStored
            ? ""
            : " There is no room to keep it on this device: it needs the network again next time."),
        "ready",
      );
      return undefined;
    } catch (error) {
      engine.close();
      return describeError(error);
    } finally {
      if (isCurrent()) this.#showDownload(undefined);
      await this.#showStored();
    }
  }

  async #openOther(): Promise<void> {
    const input = element("reference", HTMLInputElement);
    this.#say(`Looking for ${input.value}…`);
    try {
      this.#pick(await locateModel(input.value, this.#site));
      await this.open();
    } catch (error) {
      this.#say(describeError(error), "failed");
    }
  }

  /** Takes a folder of this device: what either provider needs of it is stored as if it had been downloaded. */
  async #openFolder(files: readonly File[]): Promise<void> {
    const name = files[0]?.webkitRelativePath.split("/")[0];
    if (name === undefined) return;
    this.#say(`Reading ${name}…`);
    try {
      const byPath = new Map(
        files.map((file) => [file.webkitRelativePath.slice(name.length + 1), file] as const),
      );
      const text = await byPath.get("config.json")?.text();
      if (text === undefined) {
        throw new RangeError(`Cannot use "${name}": it has no "config.json"; choose the folder web-llava`);
      }
      const config = JsonConfig.parse(text, `${name}/config.json`);
      const wanted = new Set(
        (["wasm", "webgpu"] as const).flatMap((one) => onnxFolderFiles(config, one).files),
      );
      const base = new URL(`device/${encodeURIComponent(name)}/`, document.baseURI).href;
      const location = { title: `${name} (this device)`, base, version: "" };
      await deleteStoredFolder(location);
      await storeFiles(location, new Map([...byPath].filter(([path]) => wanted.has(path))));
      this.#pick(location);
      await this.open();
    } catch (error) {
      this.#say(describeError(error), "failed");
    }
  }

  #pick(location: FolderLocation): void {
    let at = this.#locations.findIndex(({ base }) => base === location.base);
    if (at < 0) at = this.#locations.push(location) - 1;
    this.#listModels();
    this.#models.selectedIndex = at;
  }

  #listModels(): void {
    const selected = Math.max(0, this.#models.selectedIndex);
    this.#models.replaceChildren(
      ...this.#locations.map(({ title }) => create("option", { textContent: title })),
    );
    this.#models.selectedIndex = selected;
  }

  async #showStored(): Promise<void> {
    const stored = await listStoredFolders();
    const sum = stored.reduce((total, { bytes }) => total + bytes, 0);
    element("stored-sum", HTMLSpanElement).textContent = stored.length === 0 ? "nothing" : megabytes(sum);
    element("stored", HTMLUListElement).replaceChildren(...stored.map(({ location, bytes }) => {
      const remove = button("Delete", async () => {
        await deleteStoredFolder(location);
        await this.#showStored();
        element("stored-sum", HTMLSpanElement).closest("summary")!.focus();
      });
      remove.setAttribute("aria-label", `Delete ${location.title}`);
      const version = location.version === "" || location.title !== RUNTIME_TITLE
        ? ""
        : ` ${location.version}`;
      return create("li", {}, [
        create("span", { textContent: `${location.title}${version}, ${megabytes(bytes)}` }),
        remove,
      ]);
    }));
  }

  #showDownload(download: Download | undefined): void {
    element("download", HTMLParagraphElement).hidden = download === undefined;
    if (download === undefined) return;
    const { loaded, total } = download;
    const bar = element("download-bar", HTMLProgressElement);
    bar.max = Math.max(total, 1);
    bar.value = loaded;
    element("download-text", HTMLSpanElement).textContent = `${megabytes(loaded)} of ${megabytes(total)}`;
  }

  #say(text: string, state: "busy" | "ready" | "failed" = "busy"): void {
    const node = element("state", HTMLParagraphElement);
    node.textContent = text;
    node.dataset.state = state;
  }
}
