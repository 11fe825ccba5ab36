/**
 * The page's side of the worker: a model is opened, pictures go in, captions come out.
 *
 * @module
 */

import type { OnnxProvider } from "../lib/generate/onnxruntime.ts";
import type { Captioned, Download, Opened, Reply, Request } from "./messages.ts";
import type { FolderLocation } from "./stored_folder.ts";

/** What is opened. */
export interface EngineOptions {
  model: FolderLocation;
  runtime: FolderLocation;
  provider: OnnxProvider;
  onDownload(download: Download): void;
}

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

/** A captioner in a worker of its own: closing it gives all of its memory back. */
export class Engine {
  readonly #worker: Worker;
  readonly #captions = new Map<number, Waiting<Captioned> & { onText(text: string): void }>();
  #opening: (Waiting<Opened> & { onDownload(download: Download): void }) | undefined;
  #nextId = 0;

  private constructor() {
    // Workers from a blob inherit the page's policy; from a file they have what the server sends, which may be none.
    const script = new URL("worker.js", document.baseURI).href;
    const blob = new Blob([`import ${JSON.stringify(script)};`], { type: "text/javascript" });
    const url = URL.createObjectURL(blob);
    this.#worker = new Worker(url, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#take(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new Error(`Cannot run the captioner: ${event.message || "its script does not load"}`));
    };
  }

  /** Starts to open a model. `opened` rejects when that cannot be done, or the engine is closed before. */
  static open(options: EngineOptions): { engine: Engine; opened: Promise<Opened> } {
    const engine = new Engine();
    const { model, runtime, provider, onDownload } = options;
    const opened = new Promise<Opened>((resolve, reject) => {
      engine.#opening = { resolve, reject, onDownload };
    });
    engine.#send({ type: "open", model, runtime, provider });
    return { engine, opened };
  }

  /** Captions a picture. */
  caption(image: Blob, options: { numBeams: number; onText(text: string): void }): Promise<Captioned> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#captions.set(id, { resolve, reject, onText: options.onText });
      this.#send({ type: "caption", id, image, numBeams: options.numBeams });
    });
  }

  /** Stops whatever it is doing. */
  close(): void {
    this.#worker.terminate();
    this.#fail(new Error("Cannot go on: the captioner was closed"));
  }

  #send(request: Request): void {
    this.#worker.postMessage(request);
  }

  #take(reply: Reply): void {
    if (reply.type === "download") return this.#opening?.onDownload(reply);
    if (reply.type === "opened") {
      this.#opening?.resolve(reply);
      this.#opening = undefined;
      return;
    }
    if (reply.type === "refused") return this.#fail(new Error(reply.message));
    const waiting = this.#captions.get(reply.id);
    if (reply.type === "text") return waiting?.onText(reply.text);
    this.#captions.delete(reply.id);
    if (reply.type === "captioned") waiting?.resolve(reply);
    else waiting?.reject(new Error(reply.message));
  }

  #fail(error: Error): void {
    this.#opening?.reject(error);
    this.#opening = undefined;
    for (const { reject } of this.#captions.values()) reject(error);
    this.#captions.clear();
  }
}
