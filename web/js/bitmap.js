/**
 * @param {string} text base64; bit i is in byte i >> 3, least significant first; zero bytes at the end are cut off
 * @returns {Uint8Array} empty when the text is not base64
 */
export function decodeBitmap(text) {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array(0);
  }
}

/**
 * @param {Uint8Array} bitmap
 * @param {number} total bits from here on are ignored
 * @param {(id: number) => void} visit called for each bit that is set, in order
 */
export function eachBit(bitmap, total, visit) {
  for (let index = 0; index < bitmap.length; index += 1) {
    for (let bits = bitmap[index]; bits !== 0; bits &= bits - 1) {
      const id = index * 8 + 31 - Math.clz32(bits & -bits);
      if (id < total) visit(id);
    }
  }
}
