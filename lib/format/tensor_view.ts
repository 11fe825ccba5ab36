/**
 * Tensors of a file under other names: one model out of a file that holds several.
 *
 * @module
 */

import { quote } from "../base/errors.ts";
import { requireTensor, tensorReaders, type TensorSource, type TensorSpec } from "./safetensors.ts";

/**
 * The tensors of `source` that `rename` gives a name, under it; nothing is read or copied.
 *
 * @throws {SyntaxError} If two tensors get the same name
 */
export function renameTensors(
  source: TensorSource,
  rename: (stored: string) => string | undefined,
): TensorSource {
  const stored = new Map<string, string>();
  const tensors = new Map<string, TensorSpec>();
  for (const [name, spec] of source.tensors) {
    const renamed = rename(name);
    if (renamed === undefined) continue;
    const other = stored.get(renamed);
    if (other !== undefined) {
      throw new SyntaxError(
        `Cannot load "${source.name}": ${quote(other)} and ${quote(name)} are the same tensor, ${
          quote(renamed)
        }`,
      );
    }
    stored.set(renamed, name);
    tensors.set(renamed, spec);
  }
  const read = async (tensor: string) => {
    requireTensor(tensors, tensor, source.name);
    return await source.read(stored.get(tensor)!);
  };
  return {
    name: source.name,
    metadata: source.metadata,
    tensors,
    ...tensorReaders(tensors, read, source.name),
  };
}
