"""What a value looks like: text, and the richer forms that it offers."""


TABLE_ROWS_MAX = 10_000

FORMS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "text/latex": "latex",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "application/json": "json",
    "application/javascript": "javascript",
}


def method(value, name):
    """A method of its class: not what an object answers to every name."""
    return None if isinstance(value, type) or not hasattr(type(value), name) else getattr(value, name)


def forms(value):
    found = {}
    for mime, field in FORMS.items():
        show = method(value, f"_repr_{field}_") if field != "text" else None
        if show is None:
            continue
        try:
            shown = show()
        except Exception:
            continue
        found[field] = shown[0] if isinstance(shown, tuple) else shown
    bundle = method(value, "_repr_mimebundle_")
    if bundle is not None:
        try:
            shown = bundle(include=None, exclude=None)
            for mime, data in dict(shown[0] if isinstance(shown, tuple) else shown).items():
                found[FORMS.get(mime, mime)] = data
        except Exception:
            pass
    if is_figure(value):
        found["png"] = picture(value)
    if type(value).__name__ == "DataFrame" and hasattr(value, "to_dict") and len(value) <= TABLE_ROWS_MAX:
        try:
            found["data"] = json.loads(json.dumps(value.to_dict(orient="list"), default=str))
        except Exception:
            pass
    if found.get("text") is None:
        text = repr(value)
        found["text"] = text[1:-1] if type(value) is str else text
    return {
        field: base64.b64encode(data).decode() if isinstance(data, (bytes, bytearray)) else data
        for field, data in found.items()
        if data is not None
    }


def show(value, main=False):
    if is_child():
        return
    fields = forms(value)
    drain()
    size = sum(len(data) for data in fields.values() if isinstance(data, str))
    if size > RESULT_MAX_BYTES:
        fields = {"text": f"<a result of {size} characters, more than {RESULT_MAX_BYTES}>"}
    answer("result", **fields, is_main_result=main)


def display(*values, **_options):
    for value in values:
        show(value)


def is_figure(value):
    return type(value).__module__.startswith("matplotlib.") and hasattr(value, "savefig")


def picture(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)  # shown: not once more at the end of the cell
    return file.getvalue()


def show_figures(*_arguments, **_options):
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None or not hasattr(pyplot, "get_fignums"):
        return
    pyplot.show = show_figures
    for number in pyplot.get_fignums():
        show(pyplot.figure(number))


def drop_figures():
    """Of a cell that failed: they are not the next one's."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and hasattr(pyplot, "close"):
        pyplot.close("all")


class Displayed:
    """HTML("<b>x</b>") and its like, where there is no IPython."""

    def __init__(self, data=None, url=None, filename=None, format=None, **_options):
        if filename is not None:
            with open(filename, "rb") as file:
                data = file.read()
        self.form = self.form if format is None else {"jpg": "jpeg"}.get(format, format)
        self.data = f'<img src="{url}"/>' if data is None and url is not None else data
        if data is None and url is not None:
            self.form = "html"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {mime: self.data for mime, field in FORMS.items() if field == self.form}


class Imports(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """pyplot's show() and IPython's display() show here; IPython.display is there even where IPython is not."""

    changes = {"matplotlib.pyplot": {"show": show_figures}, "IPython.display": {"display": display}, "IPython": {}}
    busy = False

    def find_spec(self, name, path, target=None):
        if name not in self.changes or self.busy:
            return None
        self.busy = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.busy = False
        if spec is None and name.startswith("IPython"):
            return importlib.util.spec_from_loader(name, self, is_package=name == "IPython")
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (run(module), module.__dict__.update(self.changes[name]))
        return spec

    def exec_module(self, module):
        module.display = display
        module.get_ipython = lambda: None
        module.clear_output = lambda *_a, **_o: None
        named = {"HTML": "html", "Markdown": "markdown", "SVG": "svg", "Latex": "latex", "JSON": "json", "Javascript": "javascript", "Image": "png"}
        for name, form in named.items():
            setattr(module, name, type(name, (Displayed,), {"form": form}))
