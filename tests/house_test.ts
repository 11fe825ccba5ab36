/**
 * The rules of the house, as a program: who may import whom, who may touch the host, and how kernels are headed.
 */

import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);

/** Rooms of lib, lowest first. A room imports itself and rooms of lower lines; those of one line do not know each other. */
const LAYERS = [
  ["base"],
  ["format"],
  ["text", "image"],
  ["gpu"],
  ["ops"],
  ["nn"],
  ["models"],
  ["datasets"],
  ["train", "generate", "evaluate", "quality", "export", "serve"],
];

const LEVEL = new Map(LAYERS.flatMap((rooms, level) => rooms.map((room) => [room, level] as const)));

/** Rooms that data sets stay clear of, although they lie lower: they never touch the GPU. */
const GPU_ROOMS = ["gpu", "ops", "nn"];

const NOT_OURS = new Set([".git", "node_modules", "runs", ".cache", "results"]);

/** Every file below a folder of the repository, as a path from its root; none where there is no such folder. */
function filesBelow(folder: string, extension = ""): string[] {
  const url = new URL(folder === "" ? "." : `${folder}/`, ROOT);
  let entries: Deno.DirEntry[];
  try {
    entries = [...Deno.readDirSync(url)];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  return entries.filter(({ name }) => !NOT_OURS.has(name)).flatMap(({ name, isDirectory }) => {
    const path = folder === "" ? name : `${folder}/${name}`;
    if (isDirectory) return filesBelow(path, extension);
    return name.endsWith(extension) ? [path] : [];
  }).sort();
}

const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));

/** An import of one module by another; files are paths from the root, packages `npm:name`. */
interface Import {
  from: string;
  to: string;
}

/** The part of `deno info --json` that is read here. */
interface ModuleGraph {
  modules: {
    specifier: string;
    dependencies?: { specifier: string; code?: { specifier?: string }; type?: { specifier?: string } }[];
  }[];
}

let graph: Import[] | undefined;

/** All imports of mod.ts, the tasks, the demo, the benchmarks and every file of lib, from one call of `deno info`. */
function importGraph(): Import[] {
  if (graph !== undefined) return graph;
  const roots = ["lib", "tasks", "demo", "bench"].flatMap((folder) => filesBelow(folder, ".ts"));
  if (filesBelow("").includes("mod.ts")) roots.push("mod.ts");
  const entry = Deno.makeTempFileSync({ suffix: ".ts" });
  try {
    Deno.writeTextFileSync(
      entry,
      roots.map((path) => `import ${JSON.stringify(new URL(path, ROOT).href)};`).join("\n"),
    );
    const { stdout, stderr, success } = new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", new URL("deno.json", ROOT).pathname, entry],
    }).outputSync();
    assert.ok(success, new TextDecoder().decode(stderr));
    const { modules }: ModuleGraph = JSON.parse(new TextDecoder().decode(stdout));
    const ours = modules.filter(({ specifier }) => specifier.startsWith(ROOT.href));
    assert.deepEqual(
      roots.filter((path) => !ours.some(({ specifier }) => specifier === ROOT.href + path)),
      [],
    );
    graph = ours.flatMap(({ specifier, dependencies = [] }) =>
      dependencies.map((dependency) => ({
        from: pathOf(specifier),
        to: pathOf(dependency.code?.specifier ?? dependency.type?.specifier ?? dependency.specifier),
      }))
    );
    return graph;
  } finally {
    Deno.removeSync(entry);
  }
}

function pathOf(specifier: string): string {
  if (specifier.startsWith(ROOT.href)) return specifier.slice(ROOT.href.length);
  return specifier.replace(/^npm:\/?((?:@[^/]+\/)?[^@/]+).*$/, "npm:$1");
}

const roomOf = (path: string) => /^lib\/([^/]+)\//.exec(path)?.[1];

/** What is wrong with an import between rooms, or `undefined`. */
function layeringFault({ from, to }: Import): string | undefined {
  const [room, other] = [roomOf(from), roomOf(to)];
  if (room === undefined) return undefined; // mod.ts, tasks and bench may use everything
  if (to.startsWith("npm:") || to.startsWith("node:") || to.endsWith(".wgsl")) return undefined;
  // The version of the program is written down in one place.
  if (to === "deno.json" && room === "host") return undefined;
  // Word lists are data that quality is built on.
  if (/^data\/words\/\w+\.json$/.test(to) && room === "quality") return undefined;
  if (other === undefined) return "lib imports from lib alone";
  if (room === other) return undefined;
  if (other === "host") return "only tasks import host";
  const level = LEVEL.get(other);
  if (level === undefined) return `there is no room "${other}"`;
  if (room === "host") return undefined; // the last room: it brings files to every other
  const own = LEVEL.get(room);
  if (own === undefined) return `there is no room "${room}"`;
  if (level >= own) return "imports go downward";
  if (room === "datasets" && GPU_ROOMS.includes(other)) return "data sets never touch the GPU";
  return undefined;
}

Deno.test("imports go downward through the rooms", () => {
  const faults = importGraph().flatMap((edge) => {
    const fault = layeringFault(edge);
    return fault === undefined ? [] : [`${edge.from} imports ${edge.to}: ${fault}`];
  });
  assert.deepEqual(faults, []);
  assert.ok(importGraph().length > 50, "the graph was read");
});

Deno.test("the layering rule tells right from wrong", () => {
  const fault = (from: string, to: string) => layeringFault({ from, to });
  assert.equal(fault("lib/ops/a.ts", "lib/gpu/b.ts"), undefined);
  assert.equal(fault("lib/train/a.ts", "lib/base/b.ts"), undefined);
  assert.equal(fault("lib/host/a.ts", "lib/datasets/b.ts"), undefined);
  assert.equal(fault("tasks/a.ts", "lib/host/b.ts"), undefined);
  assert.equal(fault("mod.ts", "lib/serve/b.ts"), undefined);
  assert.match(fault("lib/gpu/a.ts", "lib/ops/b.ts")!, /downward/);
  assert.match(fault("lib/text/a.ts", "lib/image/b.ts")!, /downward/);
  assert.match(fault("lib/train/a.ts", "lib/generate/b.ts")!, /downward/);
  assert.match(fault("lib/train/a.ts", "lib/host/b.ts")!, /only tasks/);
  assert.match(fault("lib/datasets/a.ts", "lib/gpu/b.ts")!, /never touch/);
  assert.equal(fault("lib/host/a.ts", "lib/train/b.ts"), undefined);
  assert.match(fault("lib/base/a.ts", "tasks/b.ts")!, /lib alone/);
  assert.equal(fault("lib/quality/a.ts", "data/words/age.json"), undefined);
  assert.match(fault("lib/text/a.ts", "data/words/age.json")!, /lib alone/);
  assert.match(fault("lib/drawer/a.ts", "lib/base/b.ts")!, /no room/);
  assert.match(fault("lib/base/a.ts", "deno.json")!, /lib alone/);
  assert.equal(fault("lib/host/a.ts", "deno.json"), undefined);
  assert.equal(pathOf("npm:/@commander-js/extra-typings@15.1.0"), "npm:@commander-js/extra-typings");
  assert.equal(pathOf("npm:sharp@0.35.5"), "npm:sharp");
});

Deno.test("only ops imports kernels, and every kernel is imported", () => {
  // A benchmark may bring the kernel that it compares with.
  const imports = importGraph().filter(({ from, to }) =>
    to.endsWith(".wgsl") && !(from.startsWith("bench/") && to.startsWith("bench/"))
  );
  assert.deepEqual(imports.filter(({ from }) => roomOf(from) !== "ops"), []);
  const used = new Set(imports.map(({ to }) => to));
  assert.deepEqual(filesBelow("kernels").filter((path) => !used.has(path)), []);
});

Deno.test("a package is imported in one file only", () => {
  const importers = new Map<string, Set<string>>();
  for (const { from, to } of importGraph()) {
    if (!to.startsWith("npm:")) continue;
    importers.set(to, (importers.get(to) ?? new Set()).add(from));
  }
  const shared = [...importers].filter(([, files]) => files.size > 1).map((
    [name, files],
  ) => [name, ...files]);
  assert.deepEqual(shared, []);
  assert.ok(importers.size > 0);
});

/** Code without its comments, good enough to look for names in; strings stay. */
function withoutComments(code: string): string {
  return code.replace(/\/\*[^]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
}

Deno.test("only host and tasks touch Deno and node", () => {
  const portable = [
    ...filesBelow("lib", ".ts").filter((path) => roomOf(path) !== "host"),
    ...filesBelow("demo", ".ts"),
  ];
  const faults = portable.filter((path) =>
    /\bDeno\b|["']node:|\bprocess\./.test(withoutComments(read(path)))
  );
  assert.deepEqual(faults, []);
  assert.deepEqual(
    importGraph().filter(({ from, to }) =>
      /^(lib|demo)\//.test(from) && to.startsWith("node:") && roomOf(from) !== "host"
    ),
    [],
  );
});

Deno.test("only the demo touches a page, and host stays out of it", () => {
  const faults = filesBelow("lib", ".ts").filter((path) =>
    /\b(document|localStorage|sessionStorage)\.\w/.test(withoutComments(read(path)))
  );
  assert.deepEqual(faults, []);
  const imports = importGraph().filter(({ from }) => from.startsWith("demo/"));
  assert.deepEqual(imports.filter(({ to }) => !/^(demo|lib)\//.test(to) || roomOf(to) === "host"), []);
  assert.ok(imports.length > 10);
});

/** The parts of a kernel's header, in their order; the formula before them has no title. */
const HEADER_PARTS = ["Shapes", "Grid", "Entries", "Numerics", "Source", "Twins"];

/** What is wrong with the text of a kernel. */
function kernelFaults(text: string): string[] {
  const faults: string[] = [];
  const lines = text.split("\n");
  const header = lines.slice(0, lines.findIndex((line) => !line.startsWith("//")));
  const titles = header.map((line) => /^\/\/ ([A-Z][a-z]+)\b/.exec(line)?.[1])
    .filter((title) => title !== undefined && HEADER_PARTS.includes(title));
  if (titles.join() !== HEADER_PARTS.join()) faults.push(`the header has ${titles.join(", ") || "no parts"}`);
  if (!/^\/\/ \S+.*\S/.test(header[0] ?? "") || header[0]?.startsWith("// Shapes")) {
    faults.push("no formula comes first");
  }
  const part = (title: string) => {
    const start = header.findIndex((line) => line.startsWith(`// ${title}`));
    const length = header.slice(start + 1).findIndex((line) =>
      /^\/\/ [A-Z]/.test(line) || line.trim() === "//"
    );
    return header.slice(start, length < 0 ? undefined : start + 1 + length).join("\n");
  };
  const entries = part("Entries");
  for (const [, name] of text.matchAll(/@compute[^{]*?fn\s+(\w+)/g)) {
    if (!new RegExp(`\\b${name}\\b`).test(entries)) faults.push(`Entries does not name ${name}`);
  }
  if (!/\b(writes?|adds? to)\b/.test(entries)) faults.push('Entries says neither "writes" nor "adds to"');
  for (const line of lines) {
    if (/@binding.*var<storage/.test(line) && !/;\s*\/\/ \S/.test(line)) {
      faults.push(`no shape: ${line.trim()}`);
    }
  }
  return faults;
}

Deno.test("kernels are headed by formula, Shapes, Grid, Entries, Numerics, Source, Twins", () => {
  const faults = filesBelow("kernels", ".wgsl").flatMap((path) =>
    kernelFaults(read(path)).map((fault) => `${path}: ${fault}`)
  );
  assert.deepEqual(faults, []);
});

Deno.test("the twins of a kernel exist", () => {
  const missing = filesBelow("kernels", ".wgsl").flatMap((path) =>
    [...read(path).matchAll(/\b(?:lib|tests|kernels)\/[\w/]+\.(?:ts|wgsl)\b/g)].map(([twin]) => twin)
      .filter((twin) => !filesBelow(twin.slice(0, twin.lastIndexOf("/"))).includes(twin))
      .map((twin) => `${path} names ${twin}`)
  );
  assert.deepEqual(missing, []);
});

Deno.test("the kernel rule tells right from wrong", () => {
  const good = `// Add   y = a + b
//
// Shapes     N elements.
// Grid       one thread each.
// Entries    forward  writes y
// Numerics   f32.
// Source     none.
// Twins      lib/ops/add.ts

@group(0) @binding(0) var<storage, read_write> y: array<f32>; // [N]
@compute @workgroup_size(64)
fn forward() {}
`;
  assert.deepEqual(kernelFaults(good), []);
  assert.equal(kernelFaults(good.replace("// Grid", "// Place")).length, 1);
  assert.equal(kernelFaults(good.replace("// [N]", "")).length, 1);
  assert.equal(kernelFaults(good.replace("fn forward", "fn backward")).length, 1);
  assert.equal(kernelFaults(good.replace("writes", "gives")).length, 1);
  assert.equal(kernelFaults(good.replace(/^.*y = a \+ b\n\/\/\n/, "")).length, 1);
});

Deno.test("there is no drawer for what has no name", () => {
  const drawers = filesBelow("").filter((path) =>
    /(^|[/_])(utils?|helpers?|common|misc)([/._]|$)/.test(path)
  );
  assert.deepEqual(drawers, []);
});

Deno.test("files, folders and imports are named in snake_case", () => {
  const code = ["lib", "tasks", "kernels", "demo"].flatMap((folder) => filesBelow(folder));
  assert.deepEqual(code.filter((path) => !/^[a-z0-9_/]+\.(ts|wgsl|html|css|svg)$/.test(path)), []);
});

Deno.test("no path of one machine is written down", () => {
  const text = /(\.(ts|wgsl|md|json|jsonl|html|css|js|csv|yml|yaml|txt)|\/run|LICENSE)$/;
  const machine = new RegExp(
    `(^|[\\s"'\`(=])/(${["work", "tmp", "root", "home/[a-z]"].join("|")})(/|["'\`]|$)`,
    "m",
  );
  assert.ok(machine.test(`cd "/${"work"}/main"`) && !machine.test("lib/tmp/a.ts, https://x.org/root/a"));
  assert.deepEqual(filesBelow("").filter((path) => text.test(path) && machine.test(read(path))), []);
});

Deno.test("every task has a description, and every script in tasks is one", () => {
  const { tasks }: { tasks: Record<string, { description?: string; command: string }> } = JSON.parse(
    read("deno.json"),
  );
  assert.deepEqual(Object.keys(tasks).filter((name) => !tasks[name]!.description), []);
  const commands = Object.values(tasks).map(({ command }) => command).join("\n");
  assert.deepEqual(filesBelow("tasks", ".ts").filter((path) => !commands.includes(path)), []);
});
