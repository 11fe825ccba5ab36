/**
 * Ways in which pictures come to the page: dropped, pasted, chosen, photographed.
 *
 * @module
 */

import { SITE_SAMPLES } from "../lib/serve/demo_site.ts";
import { create, element } from "./dom.ts";

/** Gives every picture to `take`. */
export function takePictures(take: (files: readonly File[]) => void): void {
  const takeAll = (list: FileList | null | undefined): boolean => {
    const files = [...list ?? []];
    if (files.length > 0) take(files);
    return files.length > 0;
  };
  for (const id of ["files", "camera"]) {
    const input = element(id, HTMLInputElement);
    input.onchange = () => {
      takeAll(input.files);
      input.value = "";
    };
  }
  document.addEventListener("paste", (event) => {
    if (takeAll(event.clipboardData?.files)) event.preventDefault();
  });
  takeDropped(takeAll);
  element("samples", HTMLDivElement).append(
    ...SITE_SAMPLES.map((name, i) => sampleButton(name, { i, take })),
  );
}

/** The whole page takes what is dropped: what misses the zone would replace the page. */
function takeDropped(takeAll: (list: FileList | null | undefined) => boolean): void {
  const zone = element("drop", HTMLElement);
  const mark = (isOver: boolean): void => void zone.classList.toggle("over", isOver);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) mark(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    takeAll(event.dataTransfer?.files);
  });
}

function sampleButton(
  name: string,
  { i, take }: { i: number; take(files: readonly File[]): void },
): HTMLButtonElement {
  const path = `samples/${name}`;
  const picture = create("img", { src: path, alt: `Sample ${i + 1}`, width: 64, height: 64 });
  const onclick = async (): Promise<void> => {
    const response = await fetch(path);
    take([new File([await response.blob()], name)]);
  };
  return create("button", { type: "button", className: "sample", onclick }, [picture]);
}
