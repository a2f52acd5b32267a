/** The page's few signs, drawn in the colour of the text around them. They say nothing to a screen reader: the words beside them do. */
import type { ComponentChildren } from "preact";

function Icon({ children, size = 20 }: { children: ComponentChildren; size?: number }) {
  return (
    <svg
      class="icon"
      width={size}
      height={size}
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

/** The sign of Splice: one frame, two halves that meet along a slant. */
export function Mark() {
  return (
    <svg class="mark-sign" width="26" height="26" viewBox="0 0 26 26" aria-hidden="true">
      <path d="M6 2h10.5L9.5 24H6a4 4 0 0 1-4-4V6a4 4 0 0 1 4-4z" fill="currentColor" />
      <path class="mark-lit" d="M19 2h1a4 4 0 0 1 4 4v14a4 4 0 0 1-4 4h-8z" />
    </svg>
  );
}

export const StructureIcon = () => (
  <Icon size={32}>
    <rect x="2" y="3.5" width="16" height="13" rx="2" stroke-width="0.85" />
    <path d="M2.5 14 7 8.500l3.500 4 2.5-2.5 4.5 4.5" stroke-width="0.85" />
    <circle cx="13.5" cy="7" r="1.25" stroke-width="0.85" />
  </Icon>
);

export const AppearanceIcon = () => (
  <Icon size={32}>
    <rect x="2" y="3.5" width="16" height="13" rx="2" stroke-width="0.85" />
    <circle cx="8" cy="11" r="3" stroke-width="0.85" />
    <circle cx="12" cy="11" r="3" stroke-width="0.85" />
    <circle cx="10" cy="8" r="3" stroke-width="0.85" />
  </Icon>
);

export const SwapIcon = () => (
  <Icon>
    <path d="M3 7h13l-3.5-3.500M17 13H4l3.500 3.5" />
  </Icon>
);

export const CloseIcon = () => (
  <Icon size={18}>
    <path d="m5 5 10 10M15 5 5 15" />
  </Icon>
);

export const ReplaceIcon = () => (
  <Icon size={18}>
    <path d="M16 10a6 6 0 1 1-2-4.470M16 3v3.500h-3.5" />
  </Icon>
);

export const DownloadIcon = () => (
  <Icon>
    <path d="M10 3v9.500m0 0 3.5-3.500M10 12.5 6.5 9M4 16.500h12" />
  </Icon>
);

export const ChevronIcon = () => (
  <Icon size={18}>
    <path d="m6 8 4 4 4-4" />
  </Icon>
);

export const AlertIcon = () => (
  <Icon size={18}>
    <circle cx="10" cy="10" r="7.25" />
    <path d="M10 6.250v4.500M10 13.500v.100" />
  </Icon>
);
