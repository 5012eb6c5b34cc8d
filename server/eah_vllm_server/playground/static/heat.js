// The heat map: what each patch of the picture received, laid over the picture.

const WIDTH = 640;
const COLOUR = "255, 64, 0";

/** @typedef {{rows: number, columns: number, received: number[], box: number[] | null}} Tile */

/**
 * The tiles to draw: those that show a part of the picture, or else the one that shows all of it.
 * @param {any} map the field `map` of an answer of `/v1/eah/inspect`
 * @returns {Tile[]}
 */
function tilesOf(map) {
  const image = map?.images?.[0];
  const tiles = image && !isUnknown(map) ? image.tiles : [];
  const parts = tiles.filter((/** @type {Tile} */ tile) => tile.box);
  return parts.length ? parts : tiles.slice(0, 1);
}

/**
 * Whether the server does not know how the tokens lie over the picture.
 * @param {any} map
 */
export function isUnknown(map) {
  return map?.images?.[0]?.grid === "unknown";
}

/**
 * Draw a map over a picture of this shape; patches above the threshold, the vision sinks, have a frame.
 * @param {HTMLCanvasElement} canvas
 * @param {any} map null clears the canvas
 * @param {number} threshold mean attention received
 * @param {number} shape height of the picture over its width
 */
export function draw(canvas, map, threshold, shape) {
  canvas.width = WIDTH;
  canvas.height = Math.max(1, Math.round(WIDTH * shape));
  const context = canvas.getContext("2d");
  if (!context) return;
  const tiles = tilesOf(map);
  const most = Math.max(...tiles.map((tile) => Math.max(...tile.received)), 0);
  if (!most) return;
  for (const { rows, columns, received, box } of tiles) {
    const [left, top, right, bottom] = box ?? [0, 0, 1, 1];
    const width = ((right - left) * canvas.width) / columns;
    const height = ((bottom - top) * canvas.height) / rows;
    received.forEach((value, at) => {
      const x = left * canvas.width + (at % columns) * width;
      const y = top * canvas.height + Math.floor(at / columns) * height;
      context.fillStyle = `rgba(${COLOUR}, ${0.8 * (value / most) ** 0.6})`;
      context.fillRect(x, y, width, height);
      if (value <= threshold) return;
      for (const [colour, line] of /** @type {[string, number][]} */ ([["#000", 4], ["#fff", 2]])) {
        context.strokeStyle = colour;
        context.lineWidth = line;
        context.strokeRect(x + 2, y + 2, width - 4, height - 4);
      }
    });
  }
}

/**
 * The strongest patch: its row and column from 1 on, and what it received; null without a map.
 * @param {any} map
 * @returns {{value: number, row: number, column: number} | null}
 */
export function strongest(map) {
  const patches = tilesOf(map).flatMap(({ columns, received }) =>
    received.map((value, at) => ({ value, row: Math.floor(at / columns) + 1, column: (at % columns) + 1 })),
  );
  return patches.reduce((best, patch) => (best && best.value >= patch.value ? best : patch), patches[0] ?? null);
}
