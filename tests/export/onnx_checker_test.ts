/** Written graphs before the checker of the onnx package, as Debian's python3-onnx has it. */
import assert from "node:assert/strict";
import { openCaptionerSource } from "../../lib/models/captioner_source.ts";
import { ONNX_DTYPES, ONNX_LAYOUTS, onnxComponents } from "../../lib/models/onnx_layouts.ts";
import { captionerFolders } from "../support/captioner_folders.ts";
import { EVERY_FAMILY } from "../support/every_family.ts";
import { componentFiles } from "../support/onnx_captioner.ts";

/** An interpreter that has the package; Debian's own may not be the first on the path. */
async function findPython(): Promise<string | undefined> {
  for (const python of ["python3", "/usr/bin/python3"]) {
    try {
      const { success } = await new Deno.Command(python, { args: ["-c", "import onnx"], stderr: "null" })
        .output();
      if (success) return python;
    } catch {
      // There is no such interpreter.
    }
  }
  return undefined;
}

const python = await findPython();
const CHECK = `
import sys, onnx
for path in sys.argv[1:]:
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    print(path, model.ir_version, *[f"{o.domain}:{o.version}" for o in model.opset_import])
`;

for (const [name, options] of EVERY_FAMILY) {
  Deno.test({
    name: `the onnx package's checker accepts every graph of ${name}`,
    ignore: python === undefined,
    fn: async () => {
      const folders = captionerFolders(options);
      const source = await openCaptionerSource(folders.folder, folders.openModel);
      const temporary = await Deno.makeTempDir();
      const paths: string[] = [];
      for (const layout of ONNX_LAYOUTS) {
        for (const component of onnxComponents(layout)) {
          for (const dtype of ONNX_DTYPES) {
            const folder = `${temporary}/${layout}-${component}-${dtype}`;
            await Deno.mkdir(folder);
            // Half of them with weights beside the graph.
            const beside = dtype === "fp16" || dtype === "q4" ? { maxInlineBytes: 2000 } : {};
            const { files } = await componentFiles(source, { layout, component, dtype, ...beside });
            for (const [path, bytes] of files) {
              await Deno.writeFile(`${folder}/${path.split("/").at(-1)!}`, bytes);
            }
            paths.push(`${folder}/${[...files.keys()][0]!.split("/").at(-1)!}`);
          }
        }
      }
      const { stdout, stderr, success } = await new Deno.Command(python!, { args: ["-c", CHECK, ...paths] })
        .output();
      assert.ok(success, new TextDecoder().decode(stderr));
      const lines = new TextDecoder().decode(stdout).trim().split("\n");
      assert.equal(lines.length, paths.length);
      // Microsoft's operators where there are four bits, elsewhere none.
      for (const line of lines) assert.match(line, / 8 :17( com\.microsoft:1)?$/);
      assert.equal(lines.filter((line) => line.endsWith("com.microsoft:1")).length, 8);
      await Deno.remove(temporary, { recursive: true });
    },
  });
}
