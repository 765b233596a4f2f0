// Requests to the page's own server; every error is an `ApiError` with a sentence and its kind.

const PATIENCE = { read: 15000, write: 205000 }; // milliseconds; the daemon may try a model before it applies an edit

class ApiError extends Error {
  constructor(status, body) {
    super(body.error ?? `The page's server answered ${status}.`);
    this.status = status;
    this.kind = body.kind ?? "unknown";
    this.errors = body.errors ?? [];
  }
}

async function request(path, options = {}, patience = PATIENCE.read) {
  const headers = { "X-Edge-Infer": "page", ...options.headers };
  let response;
  try {
    response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(patience), ...options, headers });
  } catch (error) {
    if (!(error instanceof TypeError) && error.name !== "TimeoutError") throw error;
    throw new ApiError(0, { kind: "gone", error: "The page's server does not answer. Look whether the ssh connection still stands, then load this page again." });
  }
  if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => ({})));
  return response;
}

export async function get(path, values = {}) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  return (await request(`/api/${path}${query.size ? `?${query}` : ""}`)).json();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await request(`/api/${path}`, { method: "POST", headers, body: JSON.stringify(body) }, PATIENCE.write)).json();
}

// Return one look at a source: what the server knows of the frame, and its picture.
export async function look(source) {
  const facts = await get("look", { source });
  const blob = await (await request(facts.picture)).blob();
  return { facts, bitmap: await createImageBitmap(blob) };
}
