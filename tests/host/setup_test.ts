import assert from "node:assert/strict";
import { UserError } from "../../lib/base/errors.ts";
import { countTests } from "../../lib/host/run_tests.ts";
import { setUp, type SetupSystem } from "../../lib/host/setup.ts";

interface Machine extends Partial<SetupSystem> {
  /** Commands on the PATH. */
  commands?: string[];
  /** Output of failing commands, by a part of the command line. */
  failing?: Record<string, string>;
  /** Whether an adapter is there before, and after a successful install. */
  before?: boolean;
  after?: boolean;
}

/** Sets up a made-up machine and tells what was run and said, and the outcome. */
async function setUpOn(machine: Machine, install = true) {
  const { commands = ["apt-get"], failing = {}, before = false, after = true, ...rest } = machine;
  const ran: string[] = [], said: string[] = [];
  let isInstalled = false;
  const system: SetupSystem = {
    os: "linux",
    denoVersion: "2.9.6",
    isRoot: true,
    findAdapter: () => Promise.resolve((isInstalled ? after : before) ? "llvmpipe" : undefined),
    hasCommand: (name) => Promise.resolve(commands.includes(name)),
    run(command) {
      const line = command.join(" ");
      ran.push(line);
      const failure = Object.keys(failing).find((part) => line.includes(part));
      if (failure === undefined && line.includes("install")) isInstalled = true;
      return Promise.resolve({ success: failure === undefined, output: failing[failure ?? ""] ?? "" });
    },
    ...rest,
  };
  let outcome: string;
  try {
    outcome = await setUp({ install, say: (line) => said.push(line), system });
  } catch (error) {
    assert.ok(error instanceof UserError, String(error));
    outcome = error.message;
  }
  return { ran, said, outcome };
}

const INSTALL = "env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 " +
  "install -y --no-install-recommends mesa-vulkan-drivers";

Deno.test("set-up runs nothing and says nothing where there is an adapter", async () => {
  assert.deepEqual(await setUpOn({ before: true }), { ran: [], said: [], outcome: "llvmpipe" });
});

Deno.test("set-up installs the driver with apt and says so", async () => {
  const { ran, said, outcome } = await setUpOn({});
  assert.deepEqual(ran, ["apt-cache show mesa-vulkan-drivers", INSTALL]);
  assert.match(said[0]!, /installing Mesa's software driver/);
  assert.match(said[1]!, /^ {2}apt-get install .*mesa-vulkan-drivers$/);
  assert.equal(outcome, "llvmpipe");
});

Deno.test("set-up fetches the package lists first where they are missing", async () => {
  const { ran, outcome } = await setUpOn({ failing: { "apt-cache show": "" } });
  assert.equal(ran.length, 3);
  assert.match(ran[1]!, /apt-get .* update$/);
  assert.equal(ran[2], INSTALL);
  assert.equal(outcome, "llvmpipe");
});

Deno.test("set-up tries again with fresh lists, then shows what the package manager says", async () => {
  const { ran, outcome } = await setUpOn({ failing: { install: "E: Unable to fetch" } });
  assert.deepEqual(ran.map((line) => /update|install/.exec(line)?.[0]), [
    undefined,
    "install",
    "update",
    "install",
  ]);
  assert.match(outcome, /Cannot install mesa-vulkan-drivers.*\nE: Unable to fetch\n.* run: apt-get install/s);
});

Deno.test("set-up uses sudo when not root, and asks for root without it", async () => {
  const withSudo = await setUpOn({ isRoot: false, commands: ["apt-get", "sudo"] });
  assert.equal(withSudo.ran[1], `sudo ${INSTALL}`);
  assert.match(withSudo.said[1]!, /sudo apt-get install/);
  const without = await setUpOn({ isRoot: false });
  assert.deepEqual(without.ran, []);
  assert.match(without.outcome, /run as root: apt-get install/);
});

Deno.test("set-up only names the command with --no-install and on other package managers", async () => {
  const named = await setUpOn({ isRoot: false, commands: ["apt-get", "sudo"] }, false);
  assert.deepEqual(named.ran, []);
  assert.match(named.outcome, /run: sudo apt-get install -y --no-install-recommends mesa-vulkan-drivers$/);
  for (const manager of ["dnf", "zypper", "pacman", "apk"]) {
    const { ran, outcome } = await setUpOn({ commands: [manager] });
    assert.deepEqual(ran, []);
    assert.match(outcome, new RegExp(`run: ${manager} `));
  }
});

Deno.test("set-up says what to do on systems without packages, and when a driver does not help", async () => {
  assert.match((await setUpOn({ os: "darwin" })).outcome, /Metal/);
  assert.match((await setUpOn({ os: "windows" })).outcome, /Direct3D 12/);
  assert.match((await setUpOn({ commands: [] })).outcome, /from your distribution/);
  assert.match((await setUpOn({ after: false })).outcome, /though mesa-vulkan-drivers is installed/);
});

Deno.test("set-up refuses a Deno that is too old", async () => {
  assert.match(
    (await setUpOn({ denoVersion: "2.7.14" })).outcome,
    /Deno 2\.7\.14 is too old, expected at least 2\.9/,
  );
  assert.equal((await setUpOn({ denoVersion: "3.0.0", before: true })).outcome, "llvmpipe");
});

Deno.test("a test run is counted from Deno's summary", () => {
  const fine = { typesCheck: true, success: true };
  const bad = { typesCheck: true, success: false };
  assert.deepEqual(
    countTests("x\n\n\x1b[0m\x1b[32mok\x1b[0m | 12 passed | 0 failed \x1b[38;5;245m(3s)\x1b[0m\n", fine),
    {
      passed: 12,
      failed: 0,
    },
  );
  const failures = "FAILED | 3 passed (2 steps) | 4 failed (1 step) | 1 ignored (3s)\n\nerror: Test failed\n";
  assert.deepEqual(countTests(failures, bad), { passed: 3, failed: 4 });
  assert.deepEqual(countTests("ok | 12 passed | 0 failed (3s)\n", { typesCheck: false, success: true }), {
    passed: 12,
    failed: 1,
  });
});

Deno.test("a test run that died or ran nothing counts as failed", () => {
  assert.deepEqual(countTests("running 3 tests\n", { typesCheck: true, success: false }), {
    passed: 0,
    failed: 1,
  });
  assert.deepEqual(countTests("", { typesCheck: true, success: true }), { passed: 0, failed: 1 });
  assert.deepEqual(countTests("ok | 12 passed | 0 failed (3s)\n", { typesCheck: true, success: false }), {
    passed: 12,
    failed: 1,
  });
});
