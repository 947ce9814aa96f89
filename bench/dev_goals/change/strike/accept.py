from pages.inline import plain_text, render_inline

assert render_inline("**~~a~~ b**") == "<strong><del>a</del> b</strong>"
assert render_inline("~~a **b** [c](d)~~") == '<del>a <strong>b</strong> <a href="d">c</a></del>'
assert render_inline("a ~ b ~~ c") == "a ~ b ~~ c"
assert render_inline("~~a") == "~~a" and render_inline("~a~") == "~a~"
assert render_inline("~~x < y~~") == "<del>x &lt; y</del>"
assert plain_text("~~**a**~~ ~b~") == "a ~b~"
