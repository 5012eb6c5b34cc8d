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
  const tiles = map?.images[0]?.tiles ?? [];
  const parts = tiles.filter((/** @type {Tile} */ tile) => tile.box);
  return parts.length ? parts : tiles.slice(0, 1);
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
 */
export function strongest(map) {
  let best = null;
  for (const tile of tilesOf(map))
    tile.received.forEach((value, at) => {
      if (best && value <= best.value) return;
      best = { value, row: Math.floor(at / tile.columns) + 1, column: (at % tile.columns) + 1 };
    });
  return /** @type {{value: number, row: number, column: number} | null} */ (best);
}
