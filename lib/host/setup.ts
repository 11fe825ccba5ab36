/**
 * Set-up: a WebGPU adapter, or what to do to get one.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";

/** Oldest Deno with everything used here: text imports and file locks that do not wait. */
const MIN_DENO = [2, 9] as const;

/** The Mesa package with the software Vulkan driver (lavapipe), and the Vulkan loader below it. */
const APT_PACKAGE = "mesa-vulkan-drivers";

/** What set-up needs of the machine; a test can stand in for it. */
export interface SetupSystem {
  /** `linux`, `darwin`, `windows`, … as `Deno.build.os` has it. */
  readonly os: string;
  /** Version of Deno, such as `2.9.6`. */
  readonly denoVersion: string;
  /** Whether commands run with all rights. */
  readonly isRoot: boolean;
  /** Describes the adapter that a new process finds, or gives `undefined`. */
  findAdapter(): Promise<string | undefined>;
  /** Whether a command is on the PATH. */
  hasCommand(name: string): Promise<boolean>;
  /** Runs a command to its end. */
  run(command: readonly string[]): Promise<{ success: boolean; output: string }>;
}

/** Options of {@linkcode setUp}. */
export interface SetupOptions {
  /** Whether a missing driver may be installed; else the command is only named. */
  install: boolean;
  /** Takes lines about what is being done. */
  say: (line: string) => void;
  /**
   * The machine.
   *
   * @default the one this runs on
   */
  system?: SetupSystem;
}

/**
 * Makes sure that WebGPU finds an adapter: on systems with apt a missing driver is installed, elsewhere the error says how.
 * Does nothing, in a fraction of a second, where there is one.
 *
 * @returns The adapter's description.
 * @throws {UserError} If there is no adapter and none could be had; the message has the command to run.
 */
export async function setUp(options: SetupOptions): Promise<string> {
  const { install, say, system = thisSystem() } = options;
  checkDenoVersion(system.denoVersion);
  const adapter = await system.findAdapter();
  if (adapter !== undefined) return adapter;
  const command = await installCommand(system);
  if (command === undefined) {
    throw new UserError(`No WebGPU adapter was found: ${adviceWithoutPackages(system.os)}`);
  }
  if (!install || command[0] !== "apt-get") {
    throw new UserError(
      `No WebGPU adapter was found; to install Mesa's software driver, run: ${
        asAdministrator(command, system)
      }`,
    );
  }
  await installWithApt(command, { say, system });
  const installed = await system.findAdapter();
  if (installed === undefined) {
    throw new UserError(
      `No WebGPU adapter was found, though ${APT_PACKAGE} is installed: "vulkaninfo --summary" ` +
        `(package vulkan-tools) says what the driver lacks`,
    );
  }
  say(`Found ${installed}`);
  return installed;
}

function checkDenoVersion(version: string): void {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > MIN_DENO[0] || (major === MIN_DENO[0] && minor >= MIN_DENO[1])) return;
  throw new UserError(
    `Deno ${version} is too old, expected at least ${
      MIN_DENO.join(".")
    }: run "deno upgrade", or put "npx -y deno@2" for "deno"`,
  );
}

/** The command that installs a software Vulkan driver here, without sudo, or `undefined` where none is known. */
async function installCommand(system: SetupSystem): Promise<string[] | undefined> {
  if (system.os !== "linux") return undefined;
  const commands = [
    ["apt-get", "install", "-y", "--no-install-recommends", APT_PACKAGE],
    ["dnf", "install", "-y", "mesa-vulkan-drivers"],
    ["zypper", "install", "-y", "libvulkan_lvp"],
    ["pacman", "-S", "--needed", "vulkan-swrast"],
    ["apk", "add", "mesa-vulkan-swrast"],
  ];
  for (const command of commands) if (await system.hasCommand(command[0]!)) return command;
  return undefined;
}

function adviceWithoutPackages(os: string): string {
  switch (os) {
    case "linux":
      return "install a Vulkan driver for the graphics card, or Mesa's software driver (lavapipe), from your distribution";
    case "darwin":
      return "WebGPU needs Metal, which every Mac since 2012 has, but few virtual machines; run this on the Mac itself";
    case "windows":
      return "WebGPU needs Direct3D 12 or Vulkan; install the graphics card's current driver";
    default:
      return `install a Vulkan driver for ${os}`;
  }
}

function asAdministrator(command: readonly string[], system: SetupSystem): string {
  return `${system.isRoot ? "" : "sudo "}${command.join(" ")}`;
}

async function installWithApt(
  command: readonly string[],
  { say, system }: { say: (line: string) => void; system: SetupSystem },
): Promise<void> {
  if (!system.isRoot && !await system.hasCommand("sudo")) {
    throw new UserError(
      `No WebGPU adapter was found; to install Mesa's software driver, run as root: ${command.join(" ")}`,
    );
  }
  say("No WebGPU adapter was found: installing Mesa's software driver, which takes up to a minute");
  // Another package manager may be at work: wait for it rather than fail.
  const settings = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"];
  const apt = async (parts: readonly string[]) => {
    say(`  ${asAdministrator(["apt-get", ...parts], system)}`);
    return await system.run([...(system.isRoot ? [] : ["sudo"]), "env", ...settings, ...parts]);
  };
  const known = await system.run(["apt-cache", "show", APT_PACKAGE]);
  let result = known.success ? await apt(command.slice(1)) : undefined;
  if (result?.success) return;
  // The lists are missing, as in a fresh container, or name versions that are gone from the server.
  const update = await apt(["update"]);
  result = await apt(command.slice(1));
  if (result.success) return;
  const reason = [...(update.success ? [] : [update.output]), result.output].join("\n").trim();
  throw new UserError(
    `Cannot install ${APT_PACKAGE}; the package manager says:\n${
      reason.split("\n").slice(-12).join("\n")
    }\n` +
      `Put that right and run: ${asAdministrator(command, system)}`,
  );
}

/** A process of its own sees a driver that was installed a moment ago, and leaves this one without a device. */
const FIND_ADAPTER = `
const adapter = await navigator.gpu?.requestAdapter();
if (!adapter) Deno.exit(3);
(await adapter.requestDevice()).destroy();
console.log(adapter.info.description || adapter.info.device || adapter.info.vendor || "a WebGPU adapter");
`;

/** The machine this runs on. */
function thisSystem(): SetupSystem {
  prepareDriverEnvironment();
  const run = async (command: readonly string[]) => {
    try {
      const { success, stdout, stderr } = await new Deno.Command(command[0]!, {
        args: command.slice(1),
        stdin: "inherit", // sudo may ask for a password
      }).output();
      return { success, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) {
        return { success: false, output: `${command[0]}: not found` };
      }
      throw error;
    }
  };
  return {
    os: Deno.build.os,
    denoVersion: Deno.version.deno,
    isRoot: Deno.build.os !== "windows" && Deno.uid() === 0,
    async findAdapter() {
      const { success, stdout } = await new Deno.Command(Deno.execPath(), {
        args: ["eval", "--no-config", FIND_ADAPTER],
        stderr: "null",
      }).output();
      return success ? new TextDecoder().decode(stdout).trim() : undefined;
    },
    hasCommand: async (name) => (await run([name, "--version"])).success,
    run,
  };
}
