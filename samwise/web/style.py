"""Style and the little script of the page. Nothing is fetched from elsewhere."""

CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
#sw-picture, #sw-progress, #sw-line, #sw-files, #sw-accepted { .html-container { padding: 0; } }
#sw-page { display: grid;
  grid-template: "form result" auto "choice result" 1fr / minmax(0, 4fr) minmax(0, 7fr); }
#sw-form { grid-area: form; } #sw-result { grid-area: result; } #sw-choice { grid-area: choice; }
#sw-progress { min-height: 1.8em; }
#sw-run { background: #1d4ed8; }
#sw-run:hover { background: #1e40af; }
#sw-text textarea::placeholder { color: #69737d; }
#sw-slider :is(.min_value, .max_value) { color: #69737d; }
#sw-model label { max-width: 100%; }
#sw-model label span { min-width: 0; overflow-wrap: anywhere; }
.sw-stage { display: flex; justify-content: center; background: #14181d; border-radius: 8px;
  overflow: hidden; }
.sw-stage img { width: 100%; max-height: 62vh; object-fit: contain; display: block; }
.sw-empty { color: #98a2ad; aspect-ratio: 16 / 9; align-items: center; }
.sw-status { display: flex; gap: 12px; align-items: center; min-height: 1.8em; font-weight: 500; }
.sw-status span { flex: none; max-width: 75%; }
.sw-meter { flex: 1; height: 12px; border-radius: 6px; overflow: hidden; position: relative;
  background: linear-gradient(#0072b2, #0072b2) left / var(--done, 0) 100% no-repeat #8a939c40; }
.sw-meter::after { content: ""; position: absolute; inset: 0; width: 40%;
  background: linear-gradient(90deg, transparent, #ffffffb0, transparent);
  animation: sw-move 1.2s linear infinite; }
.sw-waits::after { background: linear-gradient(90deg, transparent, #0072b2, transparent); }
@keyframes sw-move { from { transform: translateX(-100%); } to { transform: translateX(250%); } }
.sw-error { color: #b3261e; background: #fdeceb; border-radius: 6px; padding: 8px 12px; }
.sw-doubt { color: #6b4e00; background: #fff4d6; border-radius: 6px; padding: 6px 12px; margin-top: 6px; }
#sw-warning { color: #6b4e00; background: #fff4d6; border-radius: 6px; padding: 8px 12px; }
#sw-warning * { color: inherit; }
.sw-note { color: #69737d; font-size: 0.85em; margin-top: 6px; }
.sw-timeline { display: grid; grid-template-columns: minmax(120px, 34%) 1fr; gap: 4px 12px;
  align-items: center; }
.sw-label { line-height: 1.25; overflow-wrap: anywhere; }
.sw-label i { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 2px; margin-right: 6px; }
.sw-label small { display: block; color: #69737d; }
.sw-bar { width: 100%; height: 26px; cursor: pointer; display: block; }
.sw-track { fill: #8a939c; fill-opacity: 0.25; }
.sw-cme { fill: #111; }
.dark .sw-cme { fill: #fff; }
.sw-cursor { fill: none; stroke: currentColor; stroke-width: 2px; vector-effect: non-scaling-stroke; }
.sw-downloads { display: flex; flex-wrap: wrap; gap: 8px; margin-bottom: 8px; }
.sw-download { border: 1px solid #b8c0c8; border-radius: 6px; padding: 6px 12px; text-decoration: none; }
.sw-download:hover { background: #8a939c33; }
.sw-sentences { margin: 0; padding: 0; list-style: none; text-align: left; line-height: 1.3; }
.sw-sentences li + li { margin-top: 4px; }
.dark .sw-note { color: #98a2ad; }
.dark .sw-label small { color: #98a2ad; }
.dark #sw-text textarea::placeholder { color: #98a2ad; }
.dark #sw-slider :is(.min_value, .max_value) { color: #98a2ad; }
@media (max-width: 800px) {
  #sw-page { grid-template: "form" auto "result" auto "choice" auto / minmax(0, 1fr); }
  .sw-timeline { grid-template-columns: minmax(0, 1fr); }
  .sw-bar { margin-bottom: 8px; }
}
@media (pointer: coarse) {
  #sw-model label, .sw-download, details summary, #sw-page button { min-height: 44px; }
  #sw-slider input[type=number] { min-height: 44px; }
  .sw-download, details summary { display: flex; align-items: center; }
  #sw-slider input[type=range]::-webkit-slider-thumb { width: 30px !important; height: 30px !important; }
  #sw-slider input[type=range]::-moz-range-thumb { width: 30px !important; height: 30px !important; }
  .sw-bar { height: 40px; }
}
details video { width: 100%; max-height: 60vh; margin-top: 6px; background: #14181d; }
"""

# Shows a frame without asking the server for more than its picture.
SHOW_FRAME = """(index) => {
  const image = document.getElementById("sw-frame");
  if (image && image.dataset.frames) {
    const version = image.dataset.version ? "?v=" + image.dataset.version : "";
    image.src = image.dataset.frames + "/" + index + version;
    image.dataset.index = index;
    image.alt = "frame " + index + " with its masks";
  }
  document.querySelectorAll(".sw-cursor").forEach((cursor) => cursor.setAttribute("x", index));
  return index;
}"""

# On a phone the form fills the screen: what was asked for comes into sight.
SHOW_RESULT = """() => {
  if (window.innerWidth < 800)
    document.getElementById("sw-progress").scrollIntoView({ behavior: "smooth", block: "start" });
}"""

# A click on the timeline moves the slider.
HEAD = """<script>
document.addEventListener("click", (event) => {
  const bar = event.target.closest && event.target.closest(".sw-bar");
  const slider = document.querySelector("#sw-slider input[type=range]");
  if (!bar || !slider) return;
  const box = bar.getBoundingClientRect();
  const frames = Number(bar.dataset.frames);
  const place = Math.floor((event.clientX - box.left) / box.width * frames);
  slider.value = Math.max(0, Math.min(frames - 1, place));
  slider.dispatchEvent(new Event("input", { bubbles: true }));
});
</script>"""
