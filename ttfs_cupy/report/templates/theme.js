"use strict";
// Before anything is painted: the theme that was chosen here before, if any.
(() => {
  try {
    const chosen = localStorage.getItem("ttfs-report-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch (error) { /* storage is not allowed here: the system's theme it is */ }
})();
