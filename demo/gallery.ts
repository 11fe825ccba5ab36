/**
 * The list of pictures, captioned one after the other by whatever model is open.
 *
 * @module
 */

import { describeError } from "../lib/base/errors.ts";
import { announce, button, copy, element } from "./dom.ts";
import type { Engine } from "./engine.ts";
import { type FormatName, FORMATS } from "./formats.ts";
import { PictureCard } from "./picture_card.ts";

/** Pictures, and the queue of those without a caption. */
export class Gallery {
  readonly #cards: PictureCard[] = [];
  #queue: PictureCard[] = [];
  #engine: Engine | undefined;
  #isRunning = false;
  readonly #numBeams: () => number;

  /** @param numBeams asked for before every picture */
  constructor(numBeams: () => number) {
    this.#numBeams = numBeams;
    element("clear", HTMLButtonElement).onclick = () => {
      for (const card of [...this.#cards]) this.#remove(card);
      element("files", HTMLInputElement).focus();
    };
    const formats = Object.keys(FORMATS) as FormatName[];
    element("copy-all", HTMLSpanElement).append(...formats.map((format) => {
      const made = button(format, () => {
        const done = this.#cards.filter(({ caption }) => caption !== undefined);
        const lines = done.map(({ file, caption }) =>
          FORMATS[format]({ name: file.name, caption: caption! })
        );
        void copy(lines.join("\n"), made);
      });
      return made;
    }));
  }

  /** Adds pictures; they wait for a model. */
  add(files: readonly File[]): void {
    const actions = {
      remove: (card: PictureCard) => this.#remove(card),
      again: (card: PictureCard) => this.#ask(card),
    };
    for (const file of files) {
      const card = new PictureCard(file, actions);
      this.#cards.push(card);
      element("pictures", HTMLOListElement).append(card.node);
      this.#ask(card);
    }
    this.#showResults();
    announce(files.length === 1 ? "One picture added" : `${files.length} pictures added`);
  }

  /** Goes on with a model; `undefined` while there is none. */
  use(engine: Engine | undefined): void {
    this.#engine = engine;
    void this.#run();
  }

  #ask(card: PictureCard): void {
    card.wait();
    this.#queue.push(card);
    void this.#run();
  }

  #remove(card: PictureCard): void {
    const at = this.#cards.indexOf(card);
    if (at < 0) return;
    this.#cards.splice(at, 1);
    this.#queue = this.#queue.filter((one) => one !== card);
    card.dispose();
    this.#showResults();
    // Who uses the keyboard goes on at the next picture.
    (this.#cards[at] ?? this.#cards.at(-1))?.focus();
  }

  #showResults(): void {
    element("results", HTMLElement).hidden = this.#cards.length === 0;
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let card; this.#engine !== undefined && (card = this.#queue.shift()) !== undefined;) {
      await this.#caption(card, this.#engine);
    }
    this.#isRunning = false;
  }

  async #caption(card: PictureCard, engine: Engine): Promise<void> {
    card.grow("");
    try {
      const found = await engine.caption(card.file, {
        numBeams: this.#numBeams(),
        onText: (text) => card.grow(text),
      });
      card.finish(found);
      announce(`${card.file.name}: ${found.caption}`);
    } catch (error) {
      if (this.#engine !== engine) { // another model was taken meanwhile: it shall caption this one
        card.wait();
        if (this.#cards.includes(card)) this.#queue.unshift(card);
        return;
      }
      card.fail(describeError(error));
      announce(`${card.file.name}: ${describeError(error)}`);
    }
  }
}
