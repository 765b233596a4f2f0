// Elements made from text only: nothing here parses HTML, so no label, name or message can become markup.

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = new Set(["svg", "g", "polygon", "polyline", "line", "rect", "circle", "path", "text", "title"]);

// Return an element; `props` are its attributes, and false, null and undefined leave one out.
export function el(name, props = {}, ...children) {
  const made = SHAPES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...nodes(children));
  return made;
}

function nodes(children) {
  return children.flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

// Make the children of `target` equal to `children`. Nodes that stay keep the focus, the selection and the scroll position.
export function show(target, ...children) {
  const fresh = nodes(children);
  const old = [...target.childNodes];
  fresh.forEach((node, index) => {
    if (index >= old.length) target.append(node);
    else if (!alike(old[index], node)) old[index].replaceWith(node);
    else update(old[index], node);
  });
  old.slice(fresh.length).forEach((node) => node.remove());
}

function alike(old, fresh) {
  return old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName
    && (old.nodeType !== Node.ELEMENT_NODE || old.getAttribute("data-key") === fresh.getAttribute("data-key"));
}

function update(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  show(old, ...fresh.childNodes);
  if (old === document.activeElement) return; // somebody is typing in it
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(old.nodeName) && old.value !== fresh.value) old.value = fresh.value;
  if (old.type === "checkbox" && old.checked !== fresh.checked) old.checked = fresh.checked;
}

export const find = (id) => document.getElementById(id);

// Call `actions[data-do]` for every event of this kind below `root`, with the element that has `data-do`.
export function delegate(root, kind, actions) {
  root.addEventListener(kind, (event) => {
    const element = event.target.closest?.("[data-do]");
    const action = element && actions[element.dataset.do];
    if (action) action(element, event);
  });
}
