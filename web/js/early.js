// Runs before the first paint, so that nothing flashes: the only script that is no module.
document.documentElement.classList.add("has-scripts");
try {
  const theme = localStorage.getItem("glance.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is blocked: the system's theme it is.
}
