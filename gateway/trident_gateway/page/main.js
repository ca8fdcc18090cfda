// The page: searches as one types, and shows the newest answer only.

import * as api from "./api.js";
import { Facets } from "./facets.js";
import { element, gone, movements, show } from "./hits.js";

const DEBOUNCE_MS = 150;
const at = (id) => document.getElementById(id);
const state = { attributes: [], other: [], suggests: false, like: null, spelling: true, running: null, number: 0, asked: "" };
let timer = 0;

const facets = new Facets(at("facets"), at("chosen"), () => searchNow());

// What is asked of a server that has these attributes.
function form(attributes, counts) {
  const options = {};
  const filter = facets.filter();
  if (attributes.length) options.fields = attributes.map((each) => each.name);
  if (counts) options.facets = counts;
  if (filter) options.filter = filter;
  if (state.like) options.like = state.like.product_id;
  if (!state.spelling) options.spelling = false;
  if (at("timings").checked) options.timings = true;
  const query = state.like ? "" : at("query").value.trim();
  return { query, k: Number(at("k").value), ...(Object.keys(options).length ? { options } : {}) };
}

function searchSoon() {
  clearTimeout(timer);
  state.like = null;
  state.spelling = true;
  timer = setTimeout(searchNow, DEBOUNCE_MS);
}

async function searchNow() {
  clearTimeout(timer);
  state.running?.abort();
  if (!document.body.dataset.ready) return start(); // the server was not there yet: what there is to ask for is not known
  const asked = form(state.attributes, facets.wanted());
  const number = ++state.number;
  history.replaceState(null, "", asked.query ? `#q=${encodeURIComponent(asked.query)}` : location.pathname);
  if (!asked.query && !state.like && !facets.filter()) {
    clear("Type to search.");
    return;
  }
  state.running = new AbortController();
  const compares = at("compare").checked;
  at("status").textContent = "Searching …";
  if (state.suggests) suggest(asked.query, number);
  try {
    const signal = state.running.signal;
    const beside = compares ? api.search("other/search", form(state.other), signal).catch((error) => error) : undefined;
    const own = await api.search("search", asked, signal);
    const other = await beside;
    if (number === state.number) present(own, other);
  } catch (error) {
    if (number !== state.number || error.name === "AbortError") return;
    refused(error);
  }
}

function refused(error) {
  if (error instanceof api.KeyNeeded && !at("ask-key").open) at("ask-key").showModal();
  clear(error.message);
  at("status").classList.add("down");
}

async function suggest(query, number) {
  if (!query) return;
  try {
    const found = await api.suggestions(query, state.running.signal);
    if (number === state.number) at("suggestions").replaceChildren(...found.map((value) => element("option", { value })));
  } catch {
    at("suggestions").replaceChildren(); // completions are an extra: searches say what is wrong
  }
}

function clear(words) {
  at("status").classList.remove("down");
  at("status").textContent = words;
  at("timing").textContent = "";
  at("stages").hidden = true;
  at("notes").replaceChildren();
  at("own-hits").replaceChildren();
  at("other-hits").replaceChildren();
}

const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

function present(own, beside) {
  const failure = beside instanceof Error ? beside.message : "";
  const other = failure ? undefined : beside;
  const like = state.like ? ` like “${state.like.title}”` : "";
  const total = own.details.total === undefined ? "" : ` of ${own.details.total}`;
  const both = other ? `; ${own.hits.filter((hit) => other.hits.some((each) => each.product_id === hit.product_id)).length} in both` : "";
  at("status").classList.remove("down");
  at("status").textContent = own.hits.length ? `${count(own.hits.length, "product")}${total}${like}${both}.` : "No products found.";
  at("timing").textContent = [["", own], ["the other: ", other]].filter(([, each]) => each).map(([name, each]) => name + timing(each)).join("; ");
  drawStages(own);
  at("notes").replaceChildren(...notes(own.details), ...(failure ? [element("p", { className: "note" }, `The other server: ${failure}`)] : []));
  at("columns").classList.toggle("two", Boolean(other));
  at("other").hidden = !other;
  at("own-title").classList.toggle("quiet", !other);
  at("own-title").textContent = other ? `This server, generation ${own.generation}` : "Products";
  show(at("own-hits"), own, { moved: other ? gone(own.hits, other.hits) : [], likeThis: other ? null : likeThis });
  if (other) {
    at("other-title").textContent = `The other server, generation ${other.generation}`;
    show(at("other-hits"), other, { moved: movements(own.hits, other.hits) });
  }
  facets.show(own.facets ?? own.details.facets ?? {});
}

// Milliseconds of the stages of this answer; none of one that the server had in its cache, whose times are another's.
const isOwn = ({ id, details }) => details.timings_of === id.slice(0, id.lastIndexOf("-"));
const stageTimes = (answer) => (answer.details.timings_ms && isOwn(answer) ? Object.entries(answer.details.timings_ms) : []);

// Where the time went, as a bar: each stage, the rest of the server, gateway and network; the words above say the same.
function drawStages(answer) {
  const { times } = answer;
  const parts = stageTimes(answer);
  const inStages = parts.reduce((sum, [, value]) => sum + value, 0);
  at("stages").hidden = !parts.length || !(times.triton >= inStages);
  const drawn = [...parts, ["the server’s rest", times.triton - inStages], ["gateway and network", times.way]];
  at("stages").replaceChildren(
    ...drawn.map(([name, value]) => {
      const part = element("span", { title: `${name}: ${value.toFixed(1)} ms` });
      part.style.flexGrow = Math.max(0, value);
      return part;
    }),
  );
}

function stages(answer, ms) {
  if (answer.details.timings_ms && !isOwn(answer)) return ["from the server’s cache"];
  return stageTimes(answer).map(([name, value]) => `${name} ${ms(value)}`);
}

function timing(answer) {
  const { times, details, generation } = answer;
  const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
  const way = details.way ? [`way ${details.way}`] : [];
  return [`${ms(times.whole)} in all`, `server ${ms(times.triton)}`, ...stages(answer, ms), `gateway and network ${ms(times.way)}`, ...way, `generation ${generation}`].join(", ");
}

function notes(details) {
  const found = [];
  if (details.weak) found.push(element("p", { className: "note" }, "A weak answer: probably none of these is what was meant."));
  if (details.corrected) {
    const words = typeof details.corrected === "string" ? details.corrected : (details.corrected.text ?? JSON.stringify(details.corrected));
    const button = element("button", { type: "button", className: "plain" }, "Search as it was typed");
    button.addEventListener("click", () => {
      state.spelling = false;
      searchNow();
    });
    found.push(element("p", { className: "note" }, "Searched for ", element("strong", {}, words), ". ", button));
  }
  return found;
}

function likeThis(hit) {
  state.like = hit;
  searchNow();
  at("products").focus();
}

// In the query the key belongs to the suggestions, where there are any: Enter leaves them for the products.
function leadsDown(focused) {
  return focused === at("products") || (focused === at("query") && !state.suggests);
}

function walk(event) {
  const hits = [...document.querySelectorAll(".hit")];
  const place = hits.indexOf(document.activeElement?.closest?.(".hit"));
  if (event.key === "/" && !["INPUT", "SELECT"].includes(document.activeElement?.tagName)) at("query").select();
  else if (event.key === "Escape" && !at("ask-key").open) at("query").select();
  else if (event.key === "ArrowDown" && (place >= 0 || leadsDown(document.activeElement))) hits[place + 1]?.focus();
  else if (event.key === "ArrowUp" && place >= 0) (hits[place - 1] ?? at("query")).focus();
  else return;
  event.preventDefault();
}

// The query in the page's address; as it stands there, where somebody cut it off in the middle of a letter.
function queryOfAddress() {
  const given = /^#q=(.*)$/.exec(location.hash)?.[1] ?? "";
  try {
    return decodeURIComponent(given);
  } catch {
    return given;
  }
}

let starting = null;

function start() {
  starting ??= begin().finally(() => (starting = null));
  return starting;
}

async function begin() {
  try {
    const told = await api.about();
    state.attributes = told.attributes;
    state.other = told.other ?? [];
    state.suggests = told.suggests;
    facets.set(told.attributes);
    const filtered = facets.names.length > 0;
    at("filters").hidden = !filtered;
    at("filters-details").open = matchMedia("(min-width: 60rem)").matches;
    at("body").classList.toggle("filtered", filtered);
    at("compare-choice").hidden = !told.other;
  } catch (error) {
    refused(error);
    return;
  }
  if (!at("query").value) at("query").value = queryOfAddress();
  document.body.dataset.ready = "yes";
  if (at("query").value) searchNow();
}

at("query").addEventListener("input", searchSoon);
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  searchNow();
  if (state.suggests) at("products").focus();
});
for (const id of ["k", "timings", "compare"]) at(id).addEventListener("change", searchNow);
document.addEventListener("keydown", walk);
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.keepKey(at("key").value);
  at("ask-key").close();
  start();
});
start();
