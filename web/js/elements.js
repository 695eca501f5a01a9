/**
 * @param {ParentNode} root
 * @param {string} selector of a part that index.html always has
 * @returns {HTMLElement}
 * @throws {Error} when it is missing: the page's own files do not fit together
 */
export function findPart(root, selector) {
  const element = root.querySelector(selector);
  if (!(element instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return element;
}

/**
 * Leaves the page alone when nothing changed: a selection in it survives, and a screen reader stays quiet.
 *
 * @param {Element} element
 * @param {string} text
 */
export function writeText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {keyof HTMLElementTagNameMap} tag
 * @param {string} [className]
 * @returns {HTMLElement}
 */
export function createElement(tag, className = "") {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  return element;
}

/** @param {() => void} action to be done when what was changed until now can be seen */
export function afterPaint(action) {
  requestAnimationFrame(() => setTimeout(action));
}
