/**
 * The elements of the page.
 *
 * @module
 */

/** The element with an id. @throws {TypeError} where the page has none of that kind */
export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`Cannot run the page: it has no ${kind.name} "${id}"`);
  return found;
}

/** A new element with properties and children. */
export function create<K extends keyof HTMLElementTagNameMap>(
  name: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  children: readonly (Node | string)[] = [],
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A button that is not of a form. */
export function button(text: string, onClick: () => void): HTMLButtonElement {
  return create("button", { type: "button", textContent: text, onclick: onClick });
}

/** Megabytes, as everywhere on the page. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Tells users of screen readers what has happened. */
export function announce(text: string): void {
  element("announcement", HTMLParagraphElement).textContent = text;
}

/** Copies, and says so on the button for a moment and aloud. */
export async function copy(text: string, from: HTMLButtonElement): Promise<void> {
  const label = from.textContent;
  try {
    await navigator.clipboard.writeText(text);
    from.textContent = "Copied";
    announce("Copied");
  } catch {
    from.textContent = "Not allowed";
    announce("Cannot copy: the browser does not allow it");
  }
  setTimeout(() => from.textContent = label, 1500);
}
