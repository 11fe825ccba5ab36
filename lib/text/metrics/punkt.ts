/**
 * Sentences of English text as NLTK's Punkt finds them.
 *
 * Abbreviations, collocations and sentence starters are those of its English model; its table of the case of 20 000 words is left out,
 * so after an abbreviation a capitalised word begins a sentence only if it is a known starter.
 *
 * Source: Kiss and Strunk, "Unsupervised Multilingual Sentence Boundary Detection", 2006; nltk.tokenize.punkt
 *
 * @module
 */

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

// Spaced dots were learnt as one more abbreviation.
const ABBREVIATIONS: ReadonlySet<string> = new Set(words(`
a.a a.c a.d a.g a.h a.m a.m.e a.s a.t adm ala ariz aug ave b.f b.v bros c c.i.t c.o.m.b c.v calif chg cie co col colo conn corp cos
ct d d.c d.h d.w dec dr e e.f e.h e.l e.m f f.g f.j feb fla fri ft g g.d g.f g.k ga gen h h.c h.f h.m i.m.s ill inc j.b j.c j.j j.k
j.p j.r jan jr k kan ky l l.a l.f l.p lt ltd m m.b.a m.d.c m.j maj messrs mg mich minn mr mrs ms n n.c n.d n.h n.j n.m n.v n.y nev
nov oct ok okla ore p p.a.m p.m pa ph.d prof r r.a r.h r.i r.j r.k r.t rep reps s s.a s.a.y s.c s.g s.p.a s.s sen sep sept sr st sw
t t.j tenn tues u.k u.n u.s u.s.a u.s.s.r v va vs vt w w.c w.r w.va w.w wash wed wis yr
`)).add(". . ");
const STARTERS = words(`
according although among both but despite even he however i if in indeed instead it many meanwhile moreover most nevertheless
nonetheless nor sales separately she similarly since so some the there these they this though thus under when while yet
`);
const COLLOCATIONS = words(`
b,edelman b,levine b,smith b,stewart b,wigton i,magnin i,toussie j,aron j,fialka j,walter o,ludcke ##number##,abreast ##number##,aes
##number##,business ##number##,cbot ##number##,colgate ##number##,commodities ##number##,cooper ##number##,corrections
##number##,credit ##number##,dividend ##number##,financing ##number##,genentech ##number##,henley ##number##,insider
##number##,international ##number##,leisure ##number##,letters ##number##,notable ##number##,pay-fone ##number##,pegasus
##number##,pepper ##number##,review ##number##,rj ##number##,wedgestone ##number##,who ##number##,zimmer
`);

const NON_WORD = String.raw`[\)";\}\]*:@'\(\{\[!?]`;
const LONG_PUNCTUATION = String.raw`(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)`;
const WORD = new RegExp(
  String
    .raw`${LONG_PUNCTUATION}|(?=[^\("\x60\{\[:;&#*@\)\}\]\-,])\S+?(?=\s|$|${NON_WORD}|${LONG_PUNCTUATION}|,(?=$|\s|${NON_WORD}|${LONG_PUNCTUATION}))|\S`,
  "gu",
);
/** A mark that may end a sentence, with what follows: other punctuation, or space and a word. */
const CANDIDATE = new RegExp(String.raw`[.?!](?=(${NON_WORD}|\s+(\S+)))`, "gu");
/** Closing marks that belong to the sentence before. */
const CLOSING = /^["')\]}]+?(?:\s+|(?=--)|$)/mu;

/** Sentences of a text, in order; white space between them is left out. */
export function splitSentences(text: string): string[] {
  const ends: { end: number; next: number }[] = [];
  for (const { context, end, next } of candidates(text)) if (endsSentence(context)) ends.push({ end, next });
  let start = 0;
  const slices = ends.map(({ end, next }) => {
    const slice = { start, end };
    start = next;
    return slice;
  });
  slices.push({ start, end: text.trimEnd().length });
  const sentences: string[] = [];
  let moved = 0;
  slices.forEach((slice, i) => {
    const from = slice.start + moved;
    const following = slices[i + 1];
    moved = 0;
    const closing = following === undefined ? null : CLOSING.exec(text.slice(following.start, following.end));
    if (following !== undefined && closing !== null) {
      sentences.push(text.slice(from, following.start + closing[0].trimEnd().length));
      moved = closing[0].length;
    } else if (from < slice.end) {
      sentences.push(text.slice(from, slice.end));
    }
  });
  return sentences;
}

interface Candidate {
  /** The word before the mark, the mark, and what follows. */
  context: string;
  /** Position after the mark. */
  end: number;
  /** Where the next sentence would begin. */
  next: number;
}

/** Marks that may end a sentence; of several in one word the last. */
function candidates(text: string): Candidate[] {
  const found: Candidate[] = [];
  let held: Candidate | undefined;
  let [heldStart, heldEnd] = [0, 0];
  for (const match of text.matchAll(CANDIDATE)) {
    const before = text.slice(heldEnd, match.index);
    const space = lastSpace(before);
    const wordStart = space > 0 ? heldEnd + space + 1 : heldStart;
    if (held !== undefined && heldEnd <= wordStart) found.push(held);
    const end = match.index + 1;
    const [, after = "", word] = match;
    held = {
      context: text.slice(wordStart, end) + after,
      end,
      next: word === undefined ? end : end + after.length - word.length,
    };
    [heldStart, heldEnd] = [wordStart, match.index];
  }
  if (held !== undefined) found.push(held);
  return found;
}

function lastSpace(text: string): number {
  for (let i = text.length - 1; i >= 0; i--) if (" \t\n\r\v\f".includes(text[i]!)) return i;
  return 0;
}

/** Whether a word of the context, other than its last, ends a sentence. */
function endsSentence(context: string): boolean {
  const tokens = context.split("\n").filter((line) => line.trim() !== "").flatMap((line) =>
    line.match(WORD) ?? []
  );
  return tokens.some((token, i) => i + 1 < tokens.length && breaksBetween(token, tokens[i + 1]!));
}

function breaksBetween(token: string, next: string): boolean {
  if (token === "?" || token === "!" || token === ".") return true;
  if (/^\.\.+$/.test(token)) return beginsSentence(next);
  if (!token.endsWith(".") || token.endsWith("..")) return false;
  return afterPeriod(token, next, !isAbbreviation(token));
}

/** What the word after a period says about it. */
function afterPeriod(token: string, next: string, breaks: boolean): boolean {
  const type = typeOf(token).replace(/(?<=.)\.$/s, "");
  if (COLLOCATIONS.has(`${type},${typeWithoutBreak(next)}`)) return false;
  const isInitial = /^[\p{L}\p{M}\p{Nl}_]\.$/u.test(token);
  let result = breaks;
  if (!breaks && !isInitial && beginsSentence(next)) result = true;
  if ((isInitial || type === "##number##") && (/^[;:,.!?]$/.test(next) || /^\p{Ll}/u.test(next))) {
    return false;
  }
  // "J. Bach": a capitalised word that is not known otherwise continues a name.
  if (isInitial && /^\p{Lu}/u.test(next) && !beginsSentence(next) && next !== "A") return false;
  return result;
}

const beginsSentence = (word: string): boolean =>
  /^\p{Lu}/u.test(word) && STARTERS.has(typeWithoutBreak(word));

const typeOf = (token: string): string =>
  token.toLowerCase().replace(/^-?[.,]?\d[\d,.-]*\.?$/u, "##number##");

/** Type of a word, without its period unless that belongs to an abbreviation. */
function typeWithoutBreak(token: string): string {
  const type = typeOf(token);
  const loses = type.length > 1 && type.endsWith(".") && !token.endsWith("..") && !isAbbreviation(token);
  return loses ? type.slice(0, -1) : type;
}

/** Whether a word with a period at its end is an abbreviation, or is joined by a hyphen to one. */
function isAbbreviation(token: string): boolean {
  const stem = token.slice(0, -1).toLowerCase();
  return ABBREVIATIONS.has(stem) || ABBREVIATIONS.has(stem.split("-").at(-1)!);
}
