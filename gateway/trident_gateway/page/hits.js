// Products as list items, and where each stands in the list beside. What comes from the catalogue is text, never markup.

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "for") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

const PICTURE = "image_url";

// How each product of one list moved against another: words for it, and a class.
export function movements(from, to) {
  const before = new Map(from.map((hit, place) => [hit.product_id, place]));
  return to.map((hit, place) => {
    if (!before.has(hit.product_id)) return { words: "new", kind: "up" };
    const by = before.get(hit.product_id) - place;
    if (by === 0) return { words: "same place", kind: "" };
    return by > 0 ? { words: `↑ ${by} up`, kind: "up" } : { words: `↓ ${-by} down`, kind: "down" };
  });
}

export const gone = (from, to) => {
  const there = new Set(to.map((hit) => hit.product_id));
  return from.map((hit) => (there.has(hit.product_id) ? null : { words: "not there", kind: "down" }));
};

function picture(hit) {
  const where = hit.attributes?.[PICTURE];
  if (typeof where !== "string" || !/^https?:\/\//.test(where)) return element("span");
  const image = element("img", { src: where, alt: "", loading: "lazy", referrerPolicy: "no-referrer" });
  image.addEventListener("error", () => image.classList.add("broken")); // its place is given up
  return image;
}

function score(hit, probability) {
  const isProbability = typeof probability === "number";
  const value = isProbability ? probability : hit.score;
  const words = isProbability ? `${Math.round(value * 100)}%` : value.toFixed(3);
  const name = isProbability ? "Probability that it is relevant" : "Score, a cosine";
  return element(
    "div",
    { className: "score", title: name },
    element("span", {}, words),
    element("meter", { min: 0, max: 1, value: Math.max(0, Math.min(1, value)), "aria-label": name }),
  );
}

// Fills a list; `moved` has words for each hit or null, `likeThis` is called with a product.
export function show(list, result, { moved = [], likeThis = null } = {}) {
  const items = result.hits.map((hit, place) => {
    const more = Object.entries(hit.attributes ?? {}).filter(([name, value]) => name !== PICTURE && value !== null);
    const line = more.map(([name, value]) => `${name}: ${Array.isArray(value) ? value.join(", ") : value}`).join(" · ");
    const mark = moved[place];
    const middle = element(
      "div",
      {},
      element("div", { className: "title" }, hit.title),
      ...(mark ? [element("div", { className: `moved ${mark.kind}` }, mark.words)] : []),
      ...(line ? [element("div", { className: "more" }, line)] : []),
    );
    if (likeThis) {
      const button = element("button", { type: "button", className: "plain", "aria-label": `Products like ${hit.title}` }, "similar");
      button.addEventListener("click", () => likeThis(hit));
      middle.append(element("div", { className: "more" }, button));
    }
    const item = element("li", { className: "hit", tabIndex: -1 });
    item.dataset.id = hit.product_id;
    item.append(element("span", { className: "place" }, `${place + 1}.`), picture(hit), middle, score(hit, hit.probability ?? result.details.probability?.[place]));
    return item;
  });
  list.replaceChildren(...items);
}
