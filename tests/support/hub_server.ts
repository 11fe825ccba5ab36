/**
 * A Hub on this machine: it speaks what the client speaks, on two origins as the real one does, remembers what it was sent, and
 * misbehaves on demand.
 */

import { type Fault, spoil } from "./hub_faults.ts";
import { type Content, HubStore, sha256Of, type StoredFile, type StoredRepo } from "./hub_store.ts";

/** A request as it came. */
export interface SeenRequest {
  /** `hub`, or `cdn` for the origin of large files. */
  origin: "hub" | "cdn";
  method: string;
  /** Path and query. */
  path: string;
  headers: Headers;
}

/** Options of {@linkcode startHub}. */
export interface HubServerOptions {
  /** Accounts by token. */
  tokens?: Record<string, string>;
  /** Entries of a page of a listing. */
  pageSize?: number;
  /** Large files above this size are uploaded in parts. */
  partBytes?: number;
}

/** A running Hub. */
export class HubServer extends HubStore implements AsyncDisposable {
  readonly requests: SeenRequest[] = [];
  /** Asked for every request; what it gives is how the answer goes wrong. */
  fault: (request: SeenRequest) => Fault | undefined = () => undefined;
  /** Called after an answer has been made, before it is sent: a branch may move meanwhile. */
  afterAnswer: (request: SeenRequest) => void = () => {};
  /** Puts a listing's page in another form. */
  editPage: (entries: Record<string, unknown>[]) => unknown = (entries) => entries;
  endpoint = "";
  cdn = "";
  readonly #options: Required<HubServerOptions>;
  #servers: Deno.HttpServer[] = [];
  readonly #parts = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #stalled = new AbortController();

  constructor(options: HubServerOptions) {
    super();
    this.#options = { tokens: {}, pageSize: 1000, partBytes: Infinity, ...options };
  }

  start(): void {
    const serve = (origin: SeenRequest["origin"], answer: (request: Request) => Promise<Response>) => {
      const server = Deno.serve(
        { port: 0, hostname: "127.0.0.1", onListen() {}, onError: refuseBroken },
        async (
          request,
        ) => {
          const { pathname, search } = new URL(request.url);
          const seen = { origin, method: request.method, path: pathname + search, headers: request.headers };
          this.requests.push(seen);
          const fault = this.fault(seen);
          const response = fault?.kind === "status"
            ? Response.json({ error: fault.message ?? "a fault" }, fault)
            : await answer(fault?.kind === "noRange" ? withoutRange(request) : request);
          this.afterAnswer(seen);
          return fault === undefined || fault.kind === "status"
            ? response
            : spoil(response, fault, this.#stalled.signal);
        },
      );
      this.#servers.push(server);
      return `http://127.0.0.1:${server.addr.port}`;
    };
    this.endpoint = serve("hub", (request) => this.#answerHub(request));
    this.cdn = serve("cdn", (request) => this.#answerCdn(request));
  }

  /** Environment of a process that uses this Hub and a cache of its own. */
  environment(cacheDir: string, extra: Record<string, string> = {}): Record<string, string> {
    return { HF_ENDPOINT: `${this.endpoint}/`, HF_HOME: cacheDir, HF_HUB_DOWNLOAD_TIMEOUT: "5", ...extra };
  }

  /** Requests for files' bytes, of either origin. */
  get downloads(): SeenRequest[] {
    return this.requests.filter(({ path }) => /\/resolve\/|^\/files\//.test(path));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stalled.abort();
    await Promise.all(this.#servers.map((server) => server.shutdown()));
  }

  async #answerHub(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const account = this.#options.tokens[request.headers.get("authorization")?.replace("Bearer ", "") ?? ""];
    const path = url.pathname;
    if (path === "/api/whoami-v2") {
      return account === undefined
        ? refuse(401, "Invalid username or password.")
        : Response.json({ type: "user", name: account, auth: { type: "access_token" } });
    }
    if (path === "/api/repos/create") return this.#createRepo(await request.json(), account);
    const [, type, id, action, rest = ""] =
      /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/([\w-]+)\/?(.*)$/.exec(path) ?? [];
    if (type !== undefined) {
      const repo = this.#find(type === "models" ? "model" : "dataset", id!, account);
      if (repo instanceof Response) return repo;
      return await this.#answerApi(repo, { action: action!, rest, url, request, account });
    }
    const [, kind, lfsId] = /^\/(datasets\/)?([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(path) ??
      [];
    if (lfsId !== undefined) {
      const repo = this.#find(kind === undefined ? "model" : "dataset", lfsId, account);
      return repo instanceof Response ? repo : this.#lfsBatch(await request.json(), account);
    }
    const [, dataset, fileId, revision, file] =
      /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path) ?? [];
    if (fileId === undefined) return refuse(404, "Not Found");
    const repo = this.#find(dataset === undefined ? "model" : "dataset", fileId, account);
    if (repo instanceof Response) return repo;
    if (repo.isGated && account === undefined) {
      return refuse(403, "Access to this model is restricted.", "GatedRepo");
    }
    const sha = this.resolve(repo, decodeURIComponent(revision!));
    const stored = sha && repo.commits.get(sha)?.get(file!.split("/").map(decodeURIComponent).join("/"));
    if (!sha || !stored) return refuse(404, "Entry not found", "EntryNotFound");
    return this.#sendFile(request, sha, stored);
  }

  #find(type: StoredRepo["type"], id: string, account: string | undefined): StoredRepo | Response {
    const repo = this.repos.get(`${type} ${id}`);
    const isVisible = repo && (!repo.isPrivate || account !== undefined);
    if (isVisible) return repo;
    return refuse(account === undefined ? 401 : 404, "Repository Not Found", "RepoNotFound");
  }

  async #answerApi(
    repo: StoredRepo,
    { action, rest, url, request, account }: {
      action: string;
      rest: string;
      url: URL;
      request: Request;
      account: string | undefined;
    },
  ): Promise<Response> {
    const [first = "", ...others] = rest.split("/");
    const revision = decodeURIComponent(first);
    if (request.method === "POST" && account === undefined) return refuse(401, "Unauthorized");
    if (action === "branch") {
      if (repo.refs.has(revision)) return refuse(409, "Reference already exists");
      repo.refs.set(revision, repo.refs.get("main")!);
      return new Response(null, { status: 201 });
    }
    const sha = this.resolve(repo, revision);
    if (sha === undefined) return refuse(404, `Invalid rev id: ${revision}`, "RevisionNotFound");
    const tree = repo.commits.get(sha)!;
    if (action === "revision") {
      return Response.json({ _id: "1", id: repo.id, sha, private: repo.isPrivate, lastModified: new Date() });
    }
    if (action === "tree") return this.#listPage(tree, url);
    if (action === "paths-info") {
      const { paths } = await request.json() as { paths: string[] };
      return Response.json(entriesOf(tree).filter(({ path }) => paths.includes(path as string)));
    }
    if (action === "preupload") {
      const { files } = await request.json() as { files: { path: string }[] };
      return Response.json({
        files: files.map(({ path }) => ({ path, uploadMode: this.isLarge(path) ? "lfs" : "regular" })),
      });
    }
    if (action === "tag") {
      const { tag } = await request.json() as { tag: string };
      if (repo.refs.has(tag)) return refuse(409, "Tag reference exists already");
      repo.refs.set(tag, sha);
      return new Response(null, { status: 201 });
    }
    if (action === "commit") return this.#acceptCommit(repo, revision, await request.text());
    return refuse(404, `${action} ${others}`);
  }

  #listPage(tree: ReadonlyMap<string, StoredFile>, url: URL): Response {
    const entries = entriesOf(tree);
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const next = start + this.#options.pageSize;
    const headers: Record<string, string> = {};
    if (next < entries.length) {
      url.searchParams.set("cursor", String(next));
      headers["link"] = `<${url}>; rel="next"`;
    }
    return Response.json(this.editPage(entries.slice(start, next)), { headers });
  }

  #createRepo(body: Record<string, string>, account: string | undefined): Response {
    if (account === undefined) return refuse(401, "Unauthorized");
    const id = `${body["organization"]}/${body["name"]}`;
    const type = body["type"] as StoredRepo["type"];
    if (this.repos.has(`${type} ${id}`)) return refuse(409, "You already created this model repo");
    this.create(type, id, { isPrivate: body["visibility"] === "private" });
    return Response.json({ url: `${this.endpoint}/${id}`, id });
  }

  #lfsBatch(
    { objects }: { objects: { oid: string; size: number }[] },
    account: string | undefined,
  ): Response {
    if (account === undefined) return refuse(401, "Unauthorized");
    const { partBytes } = this.#options;
    return Response.json({
      transfer: "basic",
      objects: objects.map(({ oid, size }) => {
        if (this.large.has(oid)) return { oid, size };
        const parts = Math.ceil(size / partBytes);
        if (parts <= 1) {
          return { oid, size, actions: { upload: { href: `${this.cdn}/upload/${oid}?X-Sig=s3cret` } } };
        }
        const header: Record<string, string> = { chunk_size: String(partBytes) };
        for (let i = 1; i <= parts; i++) {
          header[String(i).padStart(5, "0")] = `${this.cdn}/part/${oid}/${i}?X-Sig=s3cret`;
        }
        return {
          oid,
          size,
          actions: { upload: { href: `${this.cdn}/complete/${oid}?X-Sig=s3cret`, header } },
        };
      }),
    });
  }

  #acceptCommit(repo: StoredRepo, branch: string, body: string): Response {
    const files: Record<string, Content> = {};
    for (const line of body.split("\n")) {
      const { key, value } = JSON.parse(line);
      if (key === "file") files[value.path] = Uint8Array.fromBase64(value.content);
      if (key !== "lfsFile") continue;
      const bytes = this.large.get(value.oid);
      if (bytes === undefined) return refuse(400, `${value.path} was not uploaded`);
      files[value.path] = bytes;
    }
    const commitOid = this.commit(repo, files, branch);
    return Response.json({ commitOid, commitUrl: `${this.endpoint}/${repo.id}/commit/${commitOid}` });
  }

  #sendFile(request: Request, sha: string, stored: StoredFile): Response {
    if (stored.sha256 === undefined) {
      return sendBytes(request, stored.bytes, { etag: `"${stored.oid}"`, "x-repo-commit": sha });
    }
    this.large.set(stored.sha256, stored.bytes);
    return new Response(null, {
      status: 302,
      headers: {
        location: `${this.cdn}/files/${stored.sha256}?X-Sig=s3cret`,
        "x-linked-etag": `"${stored.sha256}"`,
        "x-linked-size": String(stored.bytes.length),
        "x-repo-commit": sha,
      },
    });
  }

  async #answerCdn(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const [, action, oid = "", part] = pathname.split("/");
    if (action === "files") {
      const bytes = this.large.get(oid);
      return bytes === undefined
        ? refuse(404, "No such key")
        : sendBytes(request, bytes, { etag: `"cdn-${oid}"` });
    }
    // As at the object stores behind the Hub: a length is needed, a token is not wanted.
    if (request.method === "PUT" && request.headers.get("content-length") === null) {
      return refuse(411, "Length Required");
    }
    const bytes = new Uint8Array(await request.arrayBuffer());
    if (action === "part") {
      this.#parts.set(`${oid}/${part}`, bytes);
      return new Response(null, { headers: { etag: `"${part}"` } });
    }
    const whole = action === "upload" ? bytes : new Uint8Array(
      await new Blob(
        [...this.#parts.keys()].filter((key) => key.startsWith(`${oid}/`))
          .sort((a, b) => Number(a.split("/")[1]) - Number(b.split("/")[1])).map((key) =>
            this.#parts.get(key)!
          ),
      ).arrayBuffer(),
    );
    if (sha256Of(whole) !== oid) return refuse(400, "Checksum mismatch");
    this.large.set(oid, whole);
    return new Response(null);
  }
}

/** Starts a Hub; disposing ends it. */
export function startHub(options: HubServerOptions = {}): HubServer {
  const server = new HubServer(options);
  server.start();
  return server;
}

function withoutRange(request: Request): Request {
  const headers = new Headers(request.headers);
  headers.delete("range");
  return new Request(request.url, { headers });
}

function refuseBroken(): Response {
  return new Response(null, { status: 500 });
}

function refuse(status: number, error: string, code?: string): Response {
  return Response.json({ error }, { status, headers: code === undefined ? {} : { "x-error-code": code } });
}

function entriesOf(tree: ReadonlyMap<string, StoredFile>): Record<string, unknown>[] {
  const folders = new Set(
    [...tree.keys()].filter((path) => path.includes("/")).map((path) => path.replace(/\/[^/]*$/, "")),
  );
  const entries: Record<string, unknown>[] = [...folders].map((path) => ({
    type: "directory",
    path,
    size: 0,
    oid: "0".repeat(40),
  }));
  for (const [path, { bytes, oid, sha256 }] of tree) {
    const lfs = sha256 === undefined ? {} : { lfs: { oid: sha256, size: bytes.length, pointerSize: 130 } };
    entries.push({ type: "file", path, size: bytes.length, oid, ...lfs });
  }
  return entries;
}

function sendBytes(
  request: Request,
  bytes: Uint8Array<ArrayBuffer>,
  headers: Record<string, string>,
): Response {
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "") ?? [];
  if (from === undefined) return new Response(bytes, { headers });
  const start = Number(from), end = Math.min(bytes.length, to ? Number(to) + 1 : bytes.length);
  if (start >= bytes.length) {
    return new Response(null, { status: 416, headers: { "content-range": `bytes */${bytes.length}` } });
  }
  return new Response(bytes.subarray(start, end), {
    status: 206,
    headers: { ...headers, "content-range": `bytes ${start}-${end - 1}/${bytes.length}` },
  });
}
