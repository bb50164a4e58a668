"use strict";
(() => {
  const say = (words) => {
    const status = document.getElementById("status");
    status.textContent = words;
    setTimeout(() => { status.textContent = ""; }, 2500);
  };

  // Tables sort by a click on a heading, within each body, so that nulls stay among themselves.
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell && "value" in cell.dataset ? cell.dataset.value : cell ? cell.textContent.trim() : "";
    const number = text.replace("inf", "Infinity");
    return text !== "" && !Number.isNaN(Number(number)) ? Number(number) : text;
  };
  const order = (a, b) => {
    if (a === "" || b === "") return a === b ? 0 : a === "" ? Infinity : -Infinity;
    return typeof a === "number" && typeof b === "number" ? (a < b ? -1 : a > b ? 1 : 0) : String(a).localeCompare(String(b));
  };
  const sort = (heading) => {
    const table = heading.closest("table");
    const column = [...heading.parentNode.children].indexOf(heading);
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    for (const body of table.tBodies) {
      const fixed = [...body.rows].filter((row) => row.classList.contains("divider"));
      const rows = [...body.rows].filter((row) => !row.classList.contains("divider"));
      rows.sort((one, two) => {
        const found = order(value(one, column), value(two, column));
        return Number.isFinite(found) && down ? -found : found; // what has no value is last both ways
      });
      body.append(...fixed, ...rows);
    }
    say(`sorted by ${heading.textContent.trim()}, ${down ? "descending" : "ascending"}`);
  };
  for (const heading of document.querySelectorAll("table.sortable th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(heading));
    heading.append(button);
  }

  // One function picked out in all pictures of its task: by pointing, by focus, or held by a click.
  for (const section of document.querySelectorAll(".task")) {
    let held = "";
    const show = (arm) => {
      for (const item of section.querySelectorAll(".series")) {
        item.classList.toggle("dim", arm !== "" && item.dataset.arm !== arm);
        item.classList.toggle("lit", arm !== "" && item.dataset.arm === arm);
      }
      for (const row of section.querySelectorAll("tr[data-arm]")) row.classList.toggle("lit", row.dataset.arm === arm);
    };
    for (const item of section.querySelectorAll(".series, .legend button")) {
      for (const [event, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) {
        item.addEventListener(event, () => show(on ? item.dataset.arm : held));
      }
    }
    for (const button of section.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        held = held === button.dataset.arm ? "" : button.dataset.arm;
        for (const other of section.querySelectorAll(".legend button")) {
          other.setAttribute("aria-pressed", String(other.dataset.arm === held));
        }
        show(held);
      });
    }
  }

  // Copy and save; the buttons are hidden where scripts do not run.
  const copy = async (element) => {
    const paragraphs = [...element.querySelectorAll("p")].map((item) => item.textContent);
    const text = paragraphs.length ? paragraphs.join("\n\n") : element.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const range = document.createRange(); // an older browser, or one that asks for https
      range.selectNodeContents(element);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      if (!document.execCommand("copy")) { say("selected: copy it with Ctrl+C"); return; }
    }
    say("copied");
  };
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(document.getElementById(button.dataset.copy)));
  }
  for (const button of document.querySelectorAll("[data-save]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const text = document.getElementById(button.dataset.save).textContent;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: `${button.dataset.type};charset=utf-8` }));
      link.download = button.dataset.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      say(`saved ${button.dataset.name}`);
    });
  }

  // Paper has no clicks: what belongs in print is opened for it.
  addEventListener("beforeprint", () => {
    for (const item of document.querySelectorAll("details.printed")) item.open = true;
  });
})();
