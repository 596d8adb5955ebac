import sys, gradio as gr

with gr.Blocks(analytics_enabled=False) as d:
    i = gr.Textbox()
    o = gr.Textbox()
    gr.Button().click(lambda x: "hi " + x, i, o, api_name="hello")
d.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True, share=False)
