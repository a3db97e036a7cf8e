/* Dark and light: as the system has it, until somebody switches. */

const KEPT = "slipway-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return (localStorage.getItem(KEPT) ?? (system.matches ? "dark" : "light")) === "dark";
}

/** Set the colours, and make `button` switch them. */
export function beginTheme(button) {
  function set() {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  }
  button.addEventListener("click", () => {
    localStorage.setItem(KEPT, isDark() ? "light" : "dark");
    set();
  });
  system.addEventListener("change", set);
  set();
}
