// Keys press what is marked with them, and the next picture is fetched before it is asked for. Pages work without this.
let sent = false;
addEventListener("pageshow", () => { sent = false; });
addEventListener("submit", (event) => {
  // What is pressed before the next image is there is not meant for this one.
  if (sent) event.preventDefault();
  sent = true;
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const at = event.target;
  if (at instanceof HTMLElement && at.matches("input, select, textarea")) return;
  // Enter and space on a link or a button are its own.
  if (event.key === "Enter" && at instanceof HTMLElement && at.matches("a, button, summary")) return;
  const key = event.key === "Backspace" ? "u" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  for (const marked of document.querySelectorAll("[data-key]")) {
    if (marked.dataset.key === key) {
      event.preventDefault();
      // A key that is held down would label images that nobody has seen.
      if (!event.repeat || marked.matches("a")) marked.click();
      return;
    }
  }
});
const next = document.querySelector("[data-next]");
if (next) new Image().src = next.dataset.next;
