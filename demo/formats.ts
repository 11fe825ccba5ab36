/**
 * Captions in the forms in which they are pasted elsewhere.
 *
 * @module
 */

/** A picture's file name and its caption. */
export interface NamedCaption {
  name: string;
  caption: string;
}

/** Forms, by what their buttons say. */
export const FORMATS = {
  Text: ({ caption }) => caption,
  HTML: ({ name, caption }) => `<img src="${escapeHtml(name)}" alt="${escapeHtml(caption)}">`,
  Markdown: ({ name, caption }) => `![${caption.replace(/[\\[\]]/g, "\\$&")}](${markdownTarget(name)})`,
} as const satisfies Record<string, (picture: NamedCaption) => string>;

/** One of them. */
export type FormatName = keyof typeof FORMATS;

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character]!);
}

/** In angle brackets where a name has what would end it. */
function markdownTarget(name: string): string {
  return /[\s()<>\\]/.test(name) ? `<${name.replace(/[<>\\]/g, "\\$&")}>` : name;
}
