/**
 * One picture of the list, with what is known of it.
 *
 * @module
 */

import { button, copy, create } from "./dom.ts";
import { type FormatName, FORMATS } from "./formats.ts";
import type { Captioned } from "./messages.ts";

/** What the buttons of a card do. */
export interface CardActions {
  remove(card: PictureCard): void;
  again(card: PictureCard): void;
}

/** A picture and its caption. */
export class PictureCard {
  readonly file: File;
  readonly node: HTMLLIElement;
  /** The caption, once there is one. */
  caption: string | undefined;
  readonly #text = create("p", { className: "caption" });
  readonly #more = create("div");
  readonly #buttons = create("div", { className: "row" });
  readonly #url: string;
  readonly #actions: CardActions;

  constructor(file: File, actions: CardActions) {
    this.file = file;
    this.#actions = actions;
    this.#url = URL.createObjectURL(file);
    const picture = create("img", { src: this.#url, alt: "", className: "thumbnail" });
    picture.onerror = () => picture.classList.add("broken");
    const name = create("h3", { textContent: file.name });
    this.node = create("li", {}, [
      picture,
      create("div", { className: "about" }, [name, this.#text, this.#more, this.#buttons]),
    ]);
    this.wait();
  }

  /** Shows that its turn has not come. */
  wait(): void {
    this.caption = undefined;
    this.#show("Waiting…", "waiting");
  }

  /** Shows a caption that grows. */
  grow(text: string): void {
    this.#show(text === "" ? "Looking…" : `${text} …`, "growing");
  }

  /** Shows the captions. */
  finish(found: Captioned): void {
    this.caption = found.caption;
    this.#show(found.caption === "" ? "The model says nothing of this picture." : found.caption, "done");
    this.node.querySelector("img")!.alt = found.caption;
    const facts = `${percent(found.probability)} likely, ${duration(found.seconds)}`;
    this.#more.append(create("p", { className: "facts", textContent: facts }));
    if (found.outOfDomain) {
      const note =
        "This looks like a photograph, and the embedded captioner knows drawn scenes alone: load another model.";
      this.#more.append(create("p", { className: "note", textContent: note }));
    }
    if (found.others.length > 0) {
      const others = found.others.map(({ caption, probability }) => {
        const use = button("Use", () => this.#use(caption));
        use.setAttribute("aria-label", `Use “${caption}”`);
        return create("li", {}, [
          create("span", { textContent: `${caption} (${percent(probability)})` }),
          use,
        ]);
      });
      const summary = create("summary", { textContent: "Alternatives" });
      this.#more.append(create("details", {}, [summary, create("ul", {}, others)]));
    }
    this.#buttons.prepend(...this.#copyButtons());
  }

  /** Shows why there is none. */
  fail(message: string): void {
    this.caption = undefined;
    this.#show(message, "failed");
  }

  /** Puts the focus on the first of its buttons. */
  focus(): void {
    this.#buttons.querySelector("button")?.focus();
  }

  /** Frees the picture. */
  dispose(): void {
    URL.revokeObjectURL(this.#url);
    this.node.remove();
  }

  #use(caption: string): void {
    this.caption = caption;
    this.#text.textContent = caption;
  }

  #show(text: string, state: "waiting" | "growing" | "done" | "failed"): void {
    this.#text.textContent = text;
    if (this.node.dataset.state === state) return;
    this.node.dataset.state = state;
    // What has the focus is about to go: who uses the keyboard stays at this picture.
    const hasFocus = this.node.contains(document.activeElement);
    this.node.setAttribute("aria-busy", String(state === "waiting" || state === "growing"));
    this.#more.replaceChildren();
    const again = button("Caption again", () => this.#actions.again(this));
    const remove = button("Remove", () => this.#actions.remove(this));
    for (const [one, what] of [[again, "Caption again"], [remove, "Remove"]] as const) {
      one.setAttribute("aria-label", `${what}: ${this.file.name}`);
    }
    this.#buttons.replaceChildren(...state === "done" || state === "failed" ? [again, remove] : [remove]);
    if (hasFocus) this.focus();
  }

  #copyButtons(): HTMLButtonElement[] {
    return (Object.keys(FORMATS) as FormatName[]).map((format) => {
      const made = button(`Copy ${format}`, () => {
        void copy(FORMATS[format]({ name: this.file.name, caption: this.caption! }), made);
      });
      return made;
    });
  }
}

function duration(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

function percent(share: number): string {
  return share < 0.001 ? "less than 0.1 %" : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
}
