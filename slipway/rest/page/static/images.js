/* Pictures from files of the user: shown on a canvas, and as pixels. They are decoded by the browser and go nowhere
 * but to the model. */

import { el } from "./dom.js";

/** Return the picture in a file, or null if the browser cannot show it. */
export async function pictureOf(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return null;
  }
}

/** Return a canvas with a picture, at most `limit` pixels wide and high. */
export function drawn(picture, limit, label) {
  const scale = Math.min(1, limit / Math.max(picture.width, picture.height));
  const canvas = el("canvas", { role: "img", "aria-label": label, class: "picture" });
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function channelsOf(rgba, count, channels) {
  const pixels = new Uint8Array(count * channels);
  for (let at = 0; at < count; at += 1) {
    const [red, green, blue, alpha] = rgba.subarray(4 * at, 4 * at + 4);
    if (channels === 1) pixels[at] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
    else pixels.set(channels === 4 ? [red, green, blue, alpha] : [red, green, blue], at * channels);
  }
  return pixels;
}

/** Return whether the dims of a row are those of a picture: height, width, channels. */
export function arePixels(datatype, dims) {
  return datatype === "UINT8" && dims.length === 3 && [-1, 1, 3, 4].includes(dims[2]);
}

/** Return a picture as shape [height, width, channels] and values, in the size that the dims ask for. */
export function pixelsOf(picture, dims) {
  const height = dims[0] === -1 ? picture.height : dims[0];
  const width = dims[1] === -1 ? picture.width : dims[1];
  const channels = dims[2] === -1 ? 3 : dims[2];
  const canvas = el("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, width, height);
  const rgba = context.getImageData(0, 0, width, height).data;
  return { shape: [height, width, channels], values: channelsOf(rgba, width * height, channels) };
}
