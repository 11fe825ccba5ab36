/** Pictures of the sample as tables, and environments for the time of a test. */

import { parquetFile, type TestRow } from "./parquet.ts";
import { data } from "./tiny_run.ts";

/** The first pictures of a split of the sample, as rows of a table. */
export async function sampleRows(split: string, count: number): Promise<TestRow[]> {
  const lines = (await Deno.readTextFile(data(`sample/${split}/metadata.jsonl`))).split("\n").slice(0, count);
  return await Promise.all(lines.map(async (line) => {
    const { file_name: path, caption, alt_text, text, objects } = JSON.parse(line);
    const bytes = await Deno.readFile(data(`sample/${split}/${path}`));
    return { image: { bytes, path }, alt_text: caption ?? alt_text ?? text, objects };
  }));
}

/** Writes twelve pictures of every split as parquet, as the Hub has it. */
export async function writeParquet(folder: string): Promise<void> {
  await Deno.mkdir(`${folder}/data`, { recursive: true });
  for (const split of ["train", "validation", "test"]) {
    const bytes = parquetFile(await sampleRows(split, 12), { codec: "SNAPPY", rowGroupSize: 5 });
    await Deno.writeFile(`${folder}/data/${split}-00000-of-00001.parquet`, bytes);
  }
}

/** Sets variables while something is done. */
export async function withEnvironment(set: Record<string, string>, work: () => Promise<void>): Promise<void> {
  const before = Object.keys(set).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(set)) Deno.env.set(name, value);
  try {
    await work();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
}
