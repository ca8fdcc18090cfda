// What is asked of the gateway. A refusal is an Error whose message is the gateway's sentence.

const KEY = "trident-key";

export class KeyNeeded extends Error {}

// A key is a header, which has the letters of ASCII only; whatever else was typed is another one.
export const keepKey = (key) => sessionStorage.setItem(KEY, key.trim().replace(/[^\x21-\x7e]/g, "?"));

async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...(options.body ? { "content-type": "application/json" } : {}), ...(key ? { "x-api-key": key } : {}) };
  let reply;
  try {
    reply = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The gateway does not answer. Is it running?");
  }
  const text = await reply.text();
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    throw new Error(`The gateway answered what is no JSON (status ${reply.status}).`);
  }
  if (reply.status === 401) throw new KeyNeeded(said.error?.message ?? "A key is needed.");
  if (!reply.ok) throw new Error(said.error?.message ?? `The gateway answered with status ${reply.status}.`);
  return { said, reply };
}

export const about = async () => (await ask("about")).said;

// Returns the answer, with the times in milliseconds that it took: Triton's, and what came on top on the way.
export async function search(path, form, signal) {
  const start = performance.now();
  const { said, reply } = await ask(path, { method: "POST", body: JSON.stringify(form), signal });
  const whole = performance.now() - start;
  const triton = Number(/triton;dur=([\d.]+)/.exec(reply.headers.get("server-timing") ?? "")?.[1] ?? NaN);
  return { ...said, times: { triton, way: whole - triton, whole } };
}

export async function suggestions(text, signal) {
  const { said } = await ask(`suggest?prefix=${encodeURIComponent(text)}`, { signal });
  return said.suggestions.map((each) => each.text);
}
