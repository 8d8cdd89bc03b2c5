"""Style and script of corrections. The script sends operations; what may be done is decided on the server."""

EDIT_CSS = """
.sw-hidden { display: none !important; }
#sw-tools .html-container, #sw-state .html-container { padding: 0; }
#sw-state { display: none; }
.sw-stage { position: relative; }
.sw-correct img { cursor: crosshair; user-select: none; -webkit-user-drag: none;
  -webkit-touch-callout: none; }
.sw-correct[data-mode=box] img { touch-action: none; }
.sw-marks { position: absolute; pointer-events: none; }
.sw-dot { position: absolute; width: 14px; height: 14px; margin: -7px 0 0 -7px; border-radius: 50%;
  background: #16a34a; border: 2px solid #fff; box-shadow: 0 0 0 1px #000; }
.sw-dot[data-label="0"] { background: #dc2626; }
.sw-box { position: absolute; border: 2px dashed #fff; outline: 1px solid #000; }
.sw-wait img { cursor: progress; }
.sw-tools { border: 1px solid #b8c0c8; border-radius: 8px; padding: 4px 12px 8px; margin: 0; min-width: 0; }
.sw-tools legend { padding: 0 6px; font-weight: 500; }
.sw-tools button, .sw-tools label { touch-action: manipulation; }
.sw-choices { display: flex; flex-wrap: wrap; gap: 2px 16px; margin-bottom: 6px; }
.sw-choices label { display: flex; align-items: center; gap: 6px; overflow-wrap: anywhere; min-height: 28px; }
.sw-choices i { flex: none; width: 0.8em; height: 0.8em; border-radius: 2px; }
.sw-row, .sw-modes { display: flex; flex-wrap: wrap; gap: 6px; }
.sw-modes label { position: relative; }
.sw-modes input { position: absolute; opacity: 0; }
.sw-modes span, .sw-tools button { display: inline-flex; align-items: center; border: 1px solid #b8c0c8;
  border-radius: 6px; padding: 4px 10px; cursor: pointer; min-height: 32px; font-size: 0.95em;
  font-weight: 400; background: none; margin: 0; transition: none; }
.sw-modes input:checked + span { background: #1d4ed8; border-color: #1d4ed8; color: #fff; }
.sw-modes input:focus-visible + span { outline: 2px solid currentColor; outline-offset: 2px; }
.sw-tools button:hover:enabled { background: #8a939c33; }
.sw-tools button:disabled { opacity: 0.45; cursor: default; }
.sw-tools .sw-apply { margin-left: auto; font-weight: 500; color: #fff;
  background: #1d4ed8; border-color: #1d4ed8; }
.sw-tools .sw-apply:hover:enabled { background: #1e40af; }
.sw-said { color: #69737d; font-size: 0.9em; margin-top: 6px; min-height: 1.4em; }
.dark .sw-said { color: #98a2ad; }
.sw-said.sw-wrong { color: #b3261e; }
.dark .sw-said.sw-wrong { color: #f2b8b5; }
.sw-anchor { fill: #dc2626; }
@media (pointer: coarse) { .sw-modes span, .sw-tools button, .sw-choices label { min-height: 44px; } }
"""

# Gives the server the next operation that waits.
TAKE_OPERATION = "() => window.samwiseOperations.shift() || ''"

EDIT_SCRIPT = r"""<script>
window.samwiseOperations = [];
(() => {
  const find = (selector) => document.querySelector(selector);
  const frame = () => Number((find("#sw-frame") || { dataset: {} }).dataset.index || 0);
  const tools = () => find("fieldset.sw-tools");
  const chosen = (name) => (find(`.sw-tools input[name=${name}]:checked`) || {}).value;
  let state = {}, told = "", waiting = 0, start = null, timer = null;

  // Counts from the slider, which is ahead of the picture while keys are pressed quickly.
  function move(steps, around) {
    const slider = find("#sw-slider input[type=range]");
    if (!slider || !slider.offsetParent) return;
    const last = Number(slider.max), index = Number(slider.value) + steps;
    slider.value = around && index > last ? 0 : Math.max(0, Math.min(last, index));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }
  function play() {
    if (timer) { clearInterval(timer); timer = null; }
    else if (tools()) {
      timer = setInterval(() => move(1, true), Math.max(60, 1000 / (Number(tools().dataset.fps) || 8)));
    }
    const button = find(".sw-tools [data-do=play]");
    if (button) button.textContent = timer ? "Pause" : "Play";
  }
  function send(kind, more) {
    const button = find("#sw-send");
    if (!tools() || !button || state.gone || state.busy) return;
    window.samwiseOperations.push(JSON.stringify({ job: tools().dataset.job, kind, ...more }));
    waiting += 1;
    button.click();
    draw();
  }
  // The frame that is seen: a newer one may still be loading.
  function seen() {
    const image = find("#sw-frame");
    const [, frames, index] = (image.dataset.loaded || "").match(/^(.*)\/(\d+)$/) || [];
    return frames === image.dataset.frames ? Number(index) : frame();
  }
  const place = () => ({ frame: seen(), sentence: Number(chosen("sw-sentence") || 0) });

  // Where the picture is inside its element, which may be wider or higher.
  function area(image) {
    const outer = image.getBoundingClientRect();
    const ratio = Number(image.dataset.ratio);  // an image that is loading has no size
    const width = Math.min(outer.width, outer.height * ratio), height = width / ratio;
    return { left: outer.left + (outer.width - width) / 2, top: outer.top + (outer.height - height) / 2,
             width, height };
  }
  function share(event, image, cut) {
    const box = area(image);
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (cut) return at.map((x) => Math.max(0, Math.min(1, x)));
    return at.every((x) => x >= 0 && x <= 1) ? at : null;
  }
  const corners = (a, b) =>
    [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  const far = (event) => Math.hypot(event.clientX - start.x, event.clientY - start.y) > 6;
  const editable = (event) => event.target.id === "sw-frame" && tools() && !state.gone && !state.busy;

  document.addEventListener("pointerdown", (event) => {
    if (!editable(event) || !event.isPrimary || event.button === 1) return;
    const at = share(event, event.target, false);
    if (!at) return;
    if (timer) play();
    start = { x: event.clientX, y: event.clientY, at, id: event.pointerId, right: event.button === 2,
              drags: event.pointerType === "mouse" || chosen("sw-mode") === "box" };
    if (start.drags) event.target.setPointerCapture(event.pointerId);
  });
  // A finger that draws makes no gesture: after a swipe, Chrome would take the next tap for its end.
  document.addEventListener("touchstart", (event) => {
    if (start && start.drags && event.target.id === "sw-frame") event.preventDefault();
  }, { passive: false });
  document.addEventListener("pointermove", (event) => {
    if (!start || event.pointerId !== start.id || !start.drags || start.right || !far(event)) return;
    start.box = corners(start.at, share(event, find("#sw-frame"), true));
    draw();
  });
  document.addEventListener("pointerup", (event) => {
    if (!start || event.pointerId !== start.id) return;
    const { at, right, drags, box } = start, moved = far(event);
    start = null;
    if (drags && box && moved && !right) {
      if (box[2] > box[0] && box[3] > box[1]) send("box", { ...place(), at: box });
    } else if (!moved && chosen("sw-mode") !== "box") {
      send("click", { ...place(), at, label: right || chosen("sw-mode") === "remove" ? 0 : 1 });
    }
    draw();
  });
  document.addEventListener("pointercancel", () => { start = null; draw(); });
  document.addEventListener("contextmenu", (event) => {
    if (event.target.id === "sw-frame" && tools()) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest(".sw-tools [data-do]");
    if (!button || button.disabled) return;
    const what = button.dataset.do;
    if (what === "play") play();
    else if (what === "apply") { find("#sw-apply").click(); state.busy = true; draw(); }
    else send(what, what === "absent" || what === "remove" ? place() : {});
  });
  document.addEventListener("change", (event) => {
    if (event.target.closest && event.target.closest(".sw-tools")) draw();
  });
  document.addEventListener("keydown", (event) => {
    const fields = "input, textarea, select, button, summary, a, video, [contenteditable]";
    const field = event.target.closest(fields);
    const typing = field && !(field.type === "radio" && event.key === " " && field.closest(".sw-tools"));
    if (!tools() || typing || event.altKey) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key !== "z" && key !== "y") return;
      send(key === "y" || event.shiftKey ? "redo" : "undo", {});
    } else if (key === "arrowleft" || key === "arrowright") move(key === "arrowleft" ? -1 : 1);
    else if (key === " ") play();
    else return;
    event.preventDefault();
  });

  function marks(image) {
    const stage = image.parentElement;
    let layer = stage.querySelector(".sw-marks");
    if (!layer) {
      layer = document.createElement("div");
      layer.className = "sw-marks";
      stage.append(layer);
    }
    const inner = area(image), outer = stage.getBoundingClientRect();
    layer.style.cssText = `left:${inner.left - outer.left}px;top:${inner.top - outer.top}px;` +
      `width:${inner.width}px;height:${inner.height}px`;
    const known = (state.marks || {})[`${frame()},${chosen("sw-sentence") || 0}`] || {};
    const percent = (x) => `${100 * x}%`;
    layer.replaceChildren();
    for (const box of [known.box, start && start.box]) {
      if (!box) continue;
      const drawn = document.createElement("div");
      drawn.className = "sw-box";
      Object.assign(drawn.style, { left: percent(box[0]), top: percent(box[1]),
        width: percent(box[2] - box[0]), height: percent(box[3] - box[1]) });
      layer.append(drawn);
    }
    for (const [x, y, label] of known.points || []) {
      const dot = document.createElement("div");
      dot.className = "sw-dot";
      dot.dataset.label = label;
      Object.assign(dot.style, { left: percent(x), top: percent(y) });
      layer.append(dot);
    }
  }
  function draw() {
    const image = find("#sw-frame"), bar = tools();
    if (!image) return;
    image.parentElement.classList.toggle("sw-correct", Boolean(bar) && !state.gone);
    image.parentElement.classList.toggle("sw-wait", Boolean(bar) && waiting > 0);
    if (!bar) return;
    image.parentElement.dataset.mode = chosen("sw-mode");
    marks(image);
    const idle = !state.gone && !state.busy;
    const here = (state.anchors || []).some(([f, k]) => f === frame() && k === place().sentence);
    const can = { absent: idle, remove: idle && here, undo: idle && state.undo, redo: idle && state.redo,
                  apply: idle && state.stale };
    for (const name in can) bar.querySelector(`[data-do=${name}]`).disabled = !can[name];
    const said = bar.querySelector(".sw-said");
    const text = state.wrong || state.gone || (waiting ? "..." : state.stale && !state.busy
      ? "Apply makes the video follow and writes the downloads anew." : "");
    if (said.textContent !== text) said.textContent = text;
    said.classList.toggle("sw-wrong", Boolean(state.wrong || state.gone));
  }
  // What came from the server: a new state, a new timeline, another result.
  function look() {
    const image = find("#sw-frame"), given = find("#sw-state [data-state]");
    const now = given ? given.dataset.state : "";
    if (now !== told) {
      told = now;
      const before = state.version;
      state = now ? JSON.parse(now) : {};
      waiting = Math.max(0, waiting - 1);
      if (image && !state.version) delete image.dataset.version;
      if (image && state.version && state.version !== before) {
        image.dataset.version = state.version;
        image.src = `${image.dataset.frames}/${frame()}?v=${state.version}`;
      }
    }
    if (!tools() && timer) play();
    document.querySelectorAll(".sw-cursor").forEach((cursor) => {
      if (tools() && cursor.getAttribute("x") !== String(frame())) cursor.setAttribute("x", frame());
    });
    draw();
  }
  window.addEventListener("resize", () => draw());
  document.addEventListener("load", ({ target }) => {
    if (target.id !== "sw-frame") return;
    target.dataset.loaded = target.getAttribute("src").split("?")[0];
    draw();
  }, true);
  function watch() {
    // gradio patches what is there: new elements, or new attributes of old ones.
    const watched = { subtree: true, childList: true, attributes: true,
                      attributeFilter: ["data-state", "data-job", "x"] };
    const observer = new MutationObserver(() => {
      observer.disconnect();
      look();
      observer.observe(document.body, watched);
    });
    observer.observe(document.body, watched);
    look();
  }
  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);
})();
</script>"""
