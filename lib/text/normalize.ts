/**
 * Captions as people and files write them, brought into one form before they are tokenised.
 *
 * @module
 */

/**
 * Removes byte order marks and other invisible marks that tokenizers disagree about, turns every run of white space (line breaks too)
 * into one space, trims, and composes accents (NFC). Words, case and punctuation stay.
 *
 * @returns The caption, empty if nothing visible is left
 */
export function normalizeCaption(text: string): string {
  // U+FEFF is white space to JavaScript and not to other tokenizer implementations: it must not reach one. U+0000 ends C strings.
  return text.replaceAll("\0", "").replace(/[\uFEFF\u200B]/g, "").replace(/\s+/gu, " ").trim().normalize(
    "NFC",
  );
}
