// Filters: a box for each value that is counted, kept while other boxes are ticked.

import { element } from "./hits.js";

const VALUES = 8; // of a facet
const MOST = 8; // facets

const rangeWords = ({ gte, lt }) => (gte === undefined ? `below ${lt}` : lt === undefined ? `${gte} and more` : `${gte} to ${lt}`);

export class Facets {
  constructor(place, chosenPlace, changed) {
    this.place = place;
    this.chosenPlace = chosenPlace;
    this.changed = changed;
    this.names = [];
    this.chosen = new Map(); // name -> Map from a value's text to its condition
  }

  set(attributes) {
    this.names = attributes.filter((each) => each.counted).map((each) => each.name).slice(0, MOST);
  }

  wanted() {
    return this.names.length ? this.names : undefined;
  }

  // The filter of all boxes that are ticked: of one attribute any, of several all.
  filter() {
    const parts = [...this.chosen].filter(([, values]) => values.size).map(([name, values]) => {
      const conditions = [...values.values()];
      if (conditions.every((each) => !isRange(each))) return { [name]: conditions };
      return conditions.length === 1 ? { [name]: conditions[0] } : { any: conditions.map((each) => ({ [name]: each })) };
    });
    if (!parts.length) return undefined;
    return parts.length === 1 ? parts[0] : { all: parts };
  }

  clear() {
    this.chosen.clear();
  }

  show(found) {
    const focused = document.activeElement?.dataset?.facet;
    const sets = this.names.filter((name) => found[name]).map((name) => this.fieldset(name, found[name]));
    this.place.replaceChildren(...sets.filter(Boolean));
    const count = [...this.chosen.values()].reduce((sum, values) => sum + values.size, 0);
    this.chosenPlace.replaceChildren();
    if (count) {
      const button = element("button", { type: "button" }, `Clear ${count === 1 ? "one filter" : `${count} filters`}`);
      button.addEventListener("click", () => {
        this.clear();
        this.changed();
      });
      this.chosenPlace.append(button);
    }
    if (focused) [...this.place.querySelectorAll("input")].find((box) => box.dataset.facet === focused)?.focus();
  }

  fieldset(name, counts) {
    const rows = (counts.values ?? []).slice(0, VALUES).map(({ value, count }) => [String(value), value, count]);
    for (const { count, ...range } of counts.ranges ?? []) if (count) rows.push([rangeWords(range), range, count]);
    const ticked = this.chosen.get(name) ?? new Map();
    for (const [words, condition] of ticked) if (!rows.some(([other]) => other === words)) rows.push([words, condition, 0]);
    if (!rows.length) return null;
    return element(
      "fieldset",
      { className: "facet" },
      element("legend", {}, name),
      ...rows.map(([words, condition, count]) => this.box(name, ticked, words, condition, count)),
    );
  }

  box(name, ticked, words, condition, count) {
    const input = element("input", { type: "checkbox", checked: ticked.has(words) });
    input.dataset.facet = `${name}=${words}`;
    input.addEventListener("change", () => {
      if (input.checked) ticked.set(words, condition);
      else ticked.delete(words);
      this.chosen.set(name, ticked);
      this.changed();
    });
    return element("label", {}, input, element("span", {}, words), element("span", { className: "count" }, `(${count})`));
  }
}

const isRange = (condition) => typeof condition === "object" && condition !== null;
