// Asks for the key, fetches with it what is at this address, and becomes that page: its styles and scripts are put in
// as they came, which the policy allows for these very texts only. The key stays in this window's memory.
"use strict";

(() => {
  const problem = document.getElementById("problem");

  const fetched = (key, address, accept) =>
    fetch(address, { headers: { accept, authorization: `Bearer ${key}` }, cache: "no-store" });

  function say(text) {
    problem.textContent = text;
    problem.hidden = false;
  }

  function plain(text) {
    const made = document.createElement("pre");
    made.textContent = text;
    return made;
  }

  async function become(key, html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const parts = [...page.querySelectorAll("link[rel=stylesheet], script")];
    const texts = await Promise.all(
      parts.map(async (part) => (await fetched(key, part.getAttribute("src") ?? part.getAttribute("href"), "*/*")).text()),
    );
    for (const part of parts) part.remove();
    document.querySelector("style").remove();
    window.calibrantKey = key;
    document.title = page.title;
    document.documentElement.replaceChild(document.adoptNode(page.body), document.body);
    for (const [index, part] of parts.entries()) {
      const made = document.createElement(part.localName === "script" ? "script" : "style");
      made.textContent = texts[index];
      document.body.append(made);
    }
  }

  document.getElementById("sign-in").addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    const key = document.getElementById("key").value.trim();
    try {
      const response = await fetched(key, location.href, "text/html");
      const isPage = response.headers.get("content-type")?.startsWith("text/html");
      if (response.status === 401) say("The service knows no such key.");
      else if (response.ok && isPage) await become(key, await response.text());
      else document.body.replaceChildren(plain(await response.text()));
    } catch (error) {
      say(`The service could not be asked: ${error.message}`);
    }
  });
})();
