/** The golden captions with what the reference implementations make of them; see tests/golden/metrics/README.md. */

import file from "../../golden/metrics/captions-a.json" with { type: "json" };

export const goldenCorpus = file.corpus;
export const goldenImages = file.images;
