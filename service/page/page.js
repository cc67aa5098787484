// The page: what is published, a prediction by hand, and a version's parameters. Whatever the service says is put in
// as text. The key, where one is wanted, is what sign_in.js left in this window's memory.
"use strict";

(() => {
  const at = (id) => document.getElementById(id);
  // As JSON has them, with a plus or without a digit beside the point: no zeros in front, as "1 000" has.
  const NUMBER = /^[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;
  const RULE = "type a point before decimals, nothing between thousands, and a blank between two values";
  const versions = new Map();
  let features = [];
  let targets = [];

  function element(name, text = "", attributes = {}) {
    const made = document.createElement(name);
    made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function row(cells, name = "td") {
    const made = element("tr");
    made.append(...cells.map((cell) => (cell instanceof Node ? cell : element(name, String(cell)))));
    return made;
  }

  const named = (column) => (column.unit ? `${column.name} (${column.unit})` : column.name);

  const rounded = (number) => String(Number(number.toPrecision(6)));

  async function ask(path, table) {
    const headers = { accept: "application/json" };
    if (window.calibrantKey) headers.authorization = `Bearer ${window.calibrantKey}`;
    const options = { headers, cache: "no-store" };
    if (table) {
      headers["content-type"] = "application/json";
      Object.assign(options, { method: "POST", body: JSON.stringify(table) });
    }
    const response = await fetch(path, options);
    const document = await response.json();
    if (!response.ok) throw new Error(document.detail);
    return document;
  }

  // Runs what a person asked for; whatever goes wrong is said on the page.
  const saying = (work) => async (event) => {
    event?.preventDefault();
    at("problem").hidden = true;
    try {
      await work();
    } catch (error) {
      at("problem").textContent = error.message;
      at("problem").hidden = false;
      at("problem").scrollIntoView({ block: "center" });
    }
  };

  async function showModels() {
    const { models, error } = await ask("models");
    const chosen = at("version").value;
    versions.clear();
    at("models").replaceChildren();
    at("version").replaceChildren();
    for (const model of models) {
      for (const { version, state, since, reason } of model.versions) {
        const labels = Object.keys(model.labels).filter((label) => model.labels[label] === version);
        const when = new Date(since).toLocaleString();
        at("models").append(row([model.name, version, state, labels.join(", "), when, reason ?? ""]));
        if (state !== "ready") continue;
        const name = `${model.name} ${version}`;
        const path = `models/${encodeURIComponent(model.name)}/versions/${version}`;
        versions.set(name, path);
        at("version").append(new Option(name, name));
      }
    }
    const defaults = models.map((model) => `${model.name} ${model.default_version}`);
    at("version").value = [chosen, ...defaults].find((name) => versions.has(name)) ?? "";
    for (const part of ["predictions", "parameters"]) at(part).replaceChildren();
    at("none").hidden = versions.size > 0;
    at("predict").hidden = versions.size === 0;
    if (versions.size > 0) await showVersion();
    if (error) throw new Error(error);
  }

  async function showVersion() {
    const path = versions.get(at("version").value);
    const [{ manifest }, { parameters }] = await Promise.all([ask(path), ask(`${path}/parameters?values=false`)]);
    const names = (columns) => JSON.stringify(columns.map((column) => column.name));
    if (names(features) !== names(manifest.features)) at("features").replaceChildren(...manifest.features.flatMap(input));
    ({ features, targets } = manifest);
    at("predictions").replaceChildren();
    at("parameters").replaceChildren(
      ...parameters.map(({ name, shape, statistics }) =>
        row([name, shape.join(" × "), ...["min", "max", "mean", "std", "norm"].map((key) => rounded(statistics[key]))]),
      ),
    );
  }

  function input(feature, index) {
    const id = `feature-${index}`;
    const label = element("label", named(feature), { for: id });
    label.append(element("span", ` one value, or many; seen: ${rounded(feature.minimum)} to ${rounded(feature.maximum)}`, { class: "hint" }));
    return [label, element("textarea", "", { id, rows: "2", inputmode: "decimal", required: "", spellcheck: "false" })];
  }

  // Values stand apart by blanks, line ends, semicolons, or commas with one of these behind them. A comma within a word
  // may be a decimal point, a separator of thousands or of values: to guess would be to answer another question.
  function numbers(feature, text) {
    if (/(^|[;,])\s*(;|,(?!\d))|[;,]\s*,/.test(text.trim())) throw new Error(`${feature.name}: a value is missing beside a separator`);
    return text.split(/(?:,(?=[ \t\r\n]|$)|[; \t\r\n])+/).filter(Boolean).map((word) => {
      if (!NUMBER.test(word) || !Number.isFinite(Number(word))) throw new Error(`${feature.name}: ${word} ${whatToType(word)}`);
      return Number(word);
    });
  }

  function whatToType(word) {
    const [, whole, digits] = /^([+-]?\d+),(\d+)$/.exec(word) ?? [];
    if (!digits) return /\d/.test(word) ? `is not a number: ${RULE}` : "is not a number";
    const one = digits.length === 3 ? `${whole}${digits} or ${whole}.${digits}` : `${whole}.${digits}`;
    return `is unclear: type ${one} for one value, or ${whole} ${digits} for two`;
  }

  async function predict() {
    const columns = features.map((feature, index) => numbers(feature, at(`feature-${index}`).value));
    const table = Object.fromEntries(features.map((feature, index) => [feature.name, columns[index]]));
    const answer = await ask(`${versions.get(at("version").value)}/predict`, table);
    const outside = new Set(answer.out_of_range);
    const head = element("thead");
    head.append(row([...features.map(named), ...targets.map(named), "range"].map((name) => element("th", name, { scope: "col" }))));
    const body = element("tbody");
    for (let index = 0; index < columns[0].length; index += 1) {
      const flag = outside.has(index) ? element("td", "out of range", { class: "outside" }) : "seen in training";
      const predicted = targets.map((target) => answer.predictions[target.name][index]);
      body.append(row([...columns.map((column) => column[index]), ...predicted, flag]));
    }
    const shown = element("table");
    shown.append(element("caption", `${answer.model} version ${answer.version}`), head, body);
    at("predictions").replaceChildren(shown);
  }

  at("predict").addEventListener("submit", saying(predict));
  at("version").addEventListener("change", saying(showVersion));
  at("refresh").addEventListener("click", saying(showModels));
  saying(showModels)();
})();
