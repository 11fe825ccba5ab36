import { doesNotThrow, throws } from "node:assert/strict";
import { confirmDownloads } from "../../lib/host/dataset_options.ts";

Deno.test("every data set is downloaded only when somebody says so", () => {
  const all = { dataset: ["sample", "all"] };
  const no = () => false;
  throws(() => confirmDownloads(all, undefined), { name: "UserError", message: /2 TB of disk: say --yes/ });
  throws(() => confirmDownloads(all, no), { name: "UserError", message: "Nothing was downloaded" });
  let asked = "";
  confirmDownloads(all, (question) => (asked = question, true));
  if (!/2 TB/.test(asked)) throw new Error(asked);
  for (
    const flags of [{ ...all, yes: true as const }, { ...all, sample: 5 }, {
      ...all,
      streaming: true as const,
    }, { dataset: ["flickr"] }]
  ) {
    doesNotThrow(() => confirmDownloads(flags, no));
  }
});
