// Dark or light: as the system says, until the reader chooses.

export type Theme = "system" | "light" | "dark";

const KEPT = "lpmos.theme";

class Choice {
  theme = $state<Theme>(kept());
}

function kept(): Theme {
  const found = localStorage.getItem(KEPT);
  return found === "light" || found === "dark" ? found : "system";
}

export const choice = new Choice();

/** Draw in the chosen theme from now on, and in later visits. */
export function choose(theme: Theme): void {
  choice.theme = theme;
  localStorage.setItem(KEPT, theme);
  applyTheme();
}

/** Draw in the theme that was chosen. */
export function applyTheme(): void {
  if (choice.theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = choice.theme;
}
