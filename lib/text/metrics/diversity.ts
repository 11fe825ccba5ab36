/**
 * How varied captions are, whatever they should say.
 *
 * Source: Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", 2016 (distinct-n)
 *
 * @module
 */

/** Figures of a set of captions. */
export interface Diversity {
  /** Share of different words among all words. */
  readonly distinct1: number;
  /** Share of different pairs of neighbours among all pairs. */
  readonly distinct2: number;
  /** Different words. */
  readonly vocabulary: number;
  /** Mean words of a caption. */
  readonly meanLength: number;
  /** Words of the shortest caption. */
  readonly minLength: number;
  /** Words of the longest caption. */
  readonly maxLength: number;
  /** Share of words that follow a pair of words they followed before in the same caption: 0 in prose, near 1 in "a dog a dog a dog". */
  readonly repetition: number;
  /** Share of captions that are equal to an earlier one. */
  readonly duplicates: number;
}

/** Figures of tokenized captions; all are 0 where there are none. */
export function captionDiversity(captions: readonly (readonly string[])[]): Diversity {
  const words = new Set<string>();
  const pairs = new Set<string>();
  let [wordCount, pairCount, tripleCount, repeated] = [0, 0, 0, 0];
  let [minLength, maxLength] = [Infinity, 0];
  for (const tokens of captions) {
    wordCount += tokens.length;
    minLength = Math.min(minLength, tokens.length);
    maxLength = Math.max(maxLength, tokens.length);
    const triples = new Set<string>();
    for (const [i, token] of tokens.entries()) {
      words.add(token);
      if (i < 1) continue;
      const pair = `${tokens[i - 1]} ${token}`;
      pairs.add(pair);
      pairCount++;
      if (i < 2) continue;
      triples.add(`${tokens[i - 2]} ${pair}`);
      tripleCount++;
    }
    repeated += Math.max(0, tokens.length - 2) - triples.size;
  }
  const share = (part: number, whole: number): number => whole === 0 ? 0 : part / whole;
  return {
    distinct1: share(words.size, wordCount),
    distinct2: share(pairs.size, pairCount),
    vocabulary: words.size,
    meanLength: share(wordCount, captions.length),
    minLength: captions.length === 0 ? 0 : minLength,
    maxLength,
    repetition: share(repeated, tripleCount),
    duplicates: share(
      captions.length - new Set(captions.map((tokens) => tokens.join(" "))).size,
      captions.length,
    ),
  };
}
